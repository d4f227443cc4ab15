"""What many calls leave of an agent: memory, threads and descriptors, before them and after."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from bench.agent import Agent, Taken
from bench.programs import Program, agent_program
from bench.stage import Calls, Stage

WARM_UP = 20  # ADDs for each attachment: what an agent loads and keeps with its first ones is no growth


class Look(NamedTuple):
    """What an agent has after so many ADDs and as many DELs."""

    calls: int
    taken: Taken


def looks(stage: Stage, attachments: Sequence[Calls], count: int) -> list[Look]:
    """At an agent of its own: as it started, warm, and after `count` ADDs and as many DELs since then.

    The calls are those of all `attachments`, one after another. They are the same again and again: an agent
    remembers addresses, some thousands and no more, and each new one would look like a leak.
    """
    with closing(Agent(os.path.join(stage.directory, "health.sock"), stage.state)) as agent:
        programs = [agent_program(stage, each, agent) for each in attachments]
        warm_up = WARM_UP * len(programs)
        seen = [Look(0, agent.taken())]
        _call(programs, warm_up)
        seen.append(Look(warm_up, agent.taken()))
        _call(programs, count)
        seen.append(Look(warm_up + count, agent.taken()))
    return seen


def _call(programs: Sequence[Program], count: int) -> None:
    for number in range(count):
        programs[number % len(programs)].turn()
