"""What keeps an installation from being done."""

from __future__ import annotations


class InstallError(Exception):
    """For the person who runs it: what is wrong, and what would be right. Nothing is half done."""
