"""`underlay` for a pod with two NICs, beside the same chains as a runtime executes them, plugin by plugin.

What of it is our own share is told by two more contestants: the plugins alone that are not ours, and one
ADD of `veth`. That our agent starts executables from Python is part of our share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.contest import Contestant
from bench.nics import MASTER
from bench.programs import agent_program, spawned
from bench.stage import LAN, Calls, Stage, calls
from bench.subjects import HIJACKED, IPV4, Veth
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import configuration
from underlay.lab.topology import GATEWAY

REFERENCE = "/usr/lib/cni"
TWO_NICS, ONE_BY_ONE, FOREIGN, ONE_VETH = "underlay", "plugin by plugin", "macvlan alone", "veth"
NICS = ("eth0", "net1")
FURTHER = 20_000  # from the number of a pod's address to that of its next NIC
PODS_OF_CASE = 4


@dataclass(frozen=True)
class Chains:
    """The chains of a pod, one for each NIC: each plugin is a program that is started and waited for."""

    name: str
    stage: Stage
    pod: Pod
    conflists: Sequence[Json]

    def turn(self) -> dict[str, int]:
        return {"ADD": self._timed(self._add), "DEL": self._timed(self._delete)}

    def _timed(self, work: Callable[[], None]) -> int:
        with self.stage.node.netns.entered():
            began = time.monotonic_ns()
            work()
            taken = time.monotonic_ns() - began
        self.stage.agent.rest()
        return taken

    def _add(self) -> None:
        for ifname, conflist in zip(NICS, self.conflists, strict=True):
            result: Json | None = None
            for plugin in conflist["plugins"]:
                result = json.loads(self._called("ADD", ifname, conflist, plugin, result))

    def _delete(self) -> None:
        for ifname, conflist in reversed([*zip(NICS, self.conflists, strict=True)]):
            for plugin in reversed(conflist["plugins"]):
                self._called("DEL", ifname, conflist, plugin, None)

    def _called(self, verb: str, ifname: str, conflist: Json, plugin: Json, result: Json | None) -> bytes:
        call = calls(configuration(conflist, plugin, result, {}), self.pod, ifname)
        own = os.path.join(self.stage.bin_dir, call.plugin)
        program = own if os.path.exists(own) else os.path.join(REFERENCE, call.plugin)
        return spawned(self.stage, program, verb, replace(call, path=REFERENCE))


def contestants(stage: Stage, pods: Sequence[Pod]) -> tuple[Contestant, ...]:
    """Four, with a pod each."""
    ours, executed, foreign, alone = pods
    Veth().plug(stage, [alone], IPV4)
    macvlans = [{**each, "plugins": each["plugins"][:1]} for each in _conflists(foreign)]
    return (
        replace(agent_program(stage, _underlay(stage, ours), stage.agent), name=TWO_NICS),
        Chains(ONE_BY_ONE, stage, executed, _conflists(executed)),
        Chains(FOREIGN, stage, foreign, macvlans),
        replace(agent_program(stage, Veth().calls(alone, IPV4), stage.agent), name=ONE_VETH),
    )


def _underlay(stage: Stage, pod: Pod) -> Calls:
    """Both chains are conflists in a directory of the pod's own; every pod gets the second one."""
    directory = os.path.join(stage.directory, f"conflists-{pod.name}")
    os.mkdir(directory)
    conflists = _conflists(pod)
    for conflist in conflists:
        with open(os.path.join(directory, f"{conflist['name']}.conflist"), "w", encoding="utf-8") as file:
            json.dump(conflist, file)
    first, second = (conflist["name"] for conflist in conflists)
    config = {
        "cniVersion": "1.0.0",
        "name": "several",
        "type": "underlay",
        "defaultNetwork": first,
        "networks": [second],
        "confDir": directory,
        "nadDir": directory,
    }
    return replace(calls(config, pod, NICS[0]), path=REFERENCE)


def _conflists(pod: Pod) -> list[Json]:
    """macvlan with a static address of the pod's own, and `veth` behind it: one for each NIC."""
    return [_conflist(number, int(pod.name) + number * FURTHER) for number in range(len(NICS))]


def _conflist(number: int, address: int) -> Json:
    ipam = {
        "type": "static",
        "addresses": [{"address": LAN.interface(address, 4), "gateway": str(LAN.host(GATEWAY).v4)}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    macvlan = {"type": "macvlan", "master": MASTER, "mode": "bridge", "ipam": ipam}
    return {
        "cniVersion": "1.0.0",
        "name": f"lan{number}",
        "plugins": [macvlan, {"type": "veth", **HIJACKED}],
    }
