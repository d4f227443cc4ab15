"""What keeps an agent from starting."""

from __future__ import annotations


class AgentError(Exception):
    """For the person who started it: what is wrong, and what would be right."""
