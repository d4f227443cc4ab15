"""What starts the lab's pods, and who answers its plugins: chosen with `lab up`, known to later commands."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from underlay.lab.cluster import Cluster
from underlay.lab.errors import LabError

STAND_IN, CONTAINERD = RUNTIMES = ("stand-in", "containerd")
PROCESS, AGENT = ANSWERS = ("process", "agent")
FILE = "setup.json"


@dataclass(frozen=True)
class Setup:
    """`runtime` starts the pods. `answer` says what answers a call of our plugins: a process, or an agent.

    LabError where either is not known.
    """

    runtime: str = STAND_IN
    answer: str = PROCESS

    def __post_init__(self) -> None:
        for what, value, known in (("runtime", self.runtime, RUNTIMES), ("answer", self.answer, ANSWERS)):
            if value not in known:
                raise LabError(f"there is no {what} {value}: there are {', '.join(known)}")

    @property
    def started(self) -> str:
        """What has to be started for it, in words; none where that is nothing."""
        runtime = [self.runtime] if self.runtime != STAND_IN else []
        agent = ["an agent"] if self.answer == AGENT else []
        return " and ".join([*runtime, *agent])

    def __str__(self) -> str:
        answered = "in a process for each" if self.answer == PROCESS else "by an agent"
        return f"Their runtime is {self.runtime}; calls of our plugins are answered {answered}."


def keep(setup: Setup, cluster: Cluster) -> None:
    with open(cluster.path(FILE), "w", encoding="utf-8") as file:
        json.dump(asdict(setup), file)


def kept(cluster: Cluster) -> Setup:
    """That of the lab that is up; LabError when none is."""
    try:
        with open(cluster.path(FILE), encoding="utf-8") as file:
            return Setup(**json.load(file))
    except FileNotFoundError as error:
        raise LabError("no lab is up: `underlay lab up` builds one") from error
