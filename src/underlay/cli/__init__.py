"""The command line: thin, it asks other modules and prints what they answer."""

from underlay.cli.app import main

__all__ = ["main"]
