"""The scenarios of `underlay lab`, a file each; the first is what `lab up` builds unless told otherwise."""

from __future__ import annotations

from underlay.lab.scenario import Scenario
from underlay.lab.scenarios import overlay, three_nics, veth, vxlan

SCENARIOS: tuple[Scenario, ...] = (
    veth.SCENARIO,
    overlay.SCENARIO,
    three_nics.SCENARIO,
    vxlan.SCENARIO,
)
DEFAULT = SCENARIOS[0]
