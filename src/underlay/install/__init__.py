"""Puts the plugins on a node, keeps them there, and takes them off.

What has to be there is a list of files, as values (`wanted`); `installing` brings a node in line with it,
`watch` does so whenever somebody changes something, `uninstall` goes back. What is ours is known by its
content, never by its name.
"""

from __future__ import annotations

from underlay.install.executables import install, is_built

__all__ = ["install", "is_built"]
