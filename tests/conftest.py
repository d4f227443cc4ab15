"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run: a failure that CI finds is found on any machine.
settings.register_profile("underlay", derandomize=True, deadline=None)
settings.load_profile("underlay")
