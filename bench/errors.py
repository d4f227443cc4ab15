"""Why a benchmark can't be run."""

from __future__ import annotations


class BenchError(Exception):
    """Says what is missing or what went wrong, for a person; there is nothing to be measured then."""
