"""How long the parts of a call take."""

from __future__ import annotations

from underlay.cni.phases import Phase, Phases


def test_time_counts_for_the_phase_that_was_entered_last() -> None:
    phases = Phases()
    phases.enter(Phase.PLAN)
    phases.enter(Phase.APPLY)
    phases.enter(Phase.PLAN)
    phases.enter(None)

    assert list(phases.milliseconds) == ["read", "plan", "apply"]
    assert phases.seconds > 0


def test_none_counts_after_the_end() -> None:
    phases = Phases()
    phases.enter(None)
    before = phases.seconds

    phases.enter(None)

    assert phases.seconds == before
