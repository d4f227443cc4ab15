"""The libraries that are installed beside us, for the few calls that need one.

A plugin's interpreter starts without them (`python -IS`, see `install.launcher`), and without them does not
know that it is one of a virtual environment: `site` finds out. They come last and hide nothing.
"""

from __future__ import annotations

import importlib.util
import site


def open_site_packages(library: str) -> None:
    """Makes a library that is installed importable, if it is not yet."""
    if importlib.util.find_spec(library) is None:
        site.main()
