"""The same probes by processes of containers' own: what a pod's network does for what runs in the pod.

    this process ── runtime's exec ── python: serves, until its standard input ends
                 └─ runtime's exec ── python: asks, and prints the answers

Ends that are not in a container are served and asked from this process, as in connectivity.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import IO, cast

from underlay.lab.addresses import IPAddress
from underlay.lab.connectivity import Answer, Probe, ask
from underlay.lab.echo import Server, serving
from underlay.lab.errors import LabError
from underlay.lab.namespace import OWN, Netns
from underlay.lab.pod import Json

Command = Callable[[], Sequence[str]]  # each execution has an id of its own
SERVE, ASK = "serve", "ask"


def reach_all(probes: Sequence[Probe], containers: Mapping[Netns, Command]) -> list[Answer]:
    """Sends all probes at once, as connectivity.reach_all does.

    `containers` has, for the namespace of a pod, what gives the command that runs `main` in its container.
    """
    with ExitStack() as stack:
        failed = _served(probes, containers, stack)
        open_ones = [probe for probe in probes if probe.server not in failed]
        answers = dict(zip(open_ones, _asked(open_ones, containers), strict=True))
    return [answers[each] if each in answers else Answer(error=failed[each.server]) for each in probes]


def main(task: str) -> None:
    """In a container."""
    if task == SERVE:
        with serving({_server(each) for each in json.loads(sys.stdin.readline())}) as failed:
            print(json.dumps([[_of_server(server), why] for server, why in failed.items()]), flush=True)
            sys.stdin.read()
        return
    probes = [_probe(each) for each in json.load(sys.stdin)]
    with ThreadPoolExecutor(len(probes)) as pool:
        print(json.dumps([[_text(answer.seen), answer.error] for answer in pool.map(ask, probes)]))


def _served(
    probes: Sequence[Probe], containers: Mapping[Netns, Command], stack: ExitStack
) -> dict[Server, str]:
    """Serves until the stack ends; those that can't be, with the reason."""
    servers = {probe.server for probe in probes}
    failed = dict(stack.enter_context(serving({each for each in servers if each.netns not in containers})))
    for netns, command in containers.items():
        if here := [each for each in servers if each.netns == netns]:
            failed |= stack.enter_context(_serving(netns, command, here))
    return failed


@contextmanager
def _serving(netns: Netns, command: Command, servers: Sequence[Server]) -> Iterator[dict[Server, str]]:
    argv, pipe = [*command(), SERVE], subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        to, answer = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        try:
            print(json.dumps([_of_server(each) for each in servers]), file=to, flush=True)
            said = answer.readline()
            if not said:
                raise LabError(f"{netns.name}: what was to serve in its container has ended")
            yield {replace(_server(each), netns=netns): why for each, why in json.loads(said)}
        finally:
            to.close()


def _asked(probes: Sequence[Probe], containers: Mapping[Netns, Command]) -> list[Answer]:
    """A thread for each probe from here, and one for each container."""
    with ThreadPoolExecutor(len(probes) + 1) as pool:
        futures: dict[Probe, Future[Answer]] = {
            probe: pool.submit(ask, probe) for probe in probes if probe.client not in containers
        }
        groups = {
            netns: [probe for probe in probes if probe.client == netns]
            for netns in containers
            if any(probe.client == netns for probe in probes)
        }
        inside = {netns: pool.submit(_ask_in, containers[netns], group) for netns, group in groups.items()}
        found = {probe: future.result() for probe, future in futures.items()}
        for netns, group in groups.items():
            found |= dict(zip(group, inside[netns].result(), strict=True))
    return [found[probe] for probe in probes]


def _ask_in(command: Command, probes: Sequence[Probe]) -> list[Answer]:
    text = json.dumps([_of_probe(probe) for probe in probes])
    done = subprocess.run([*command(), ASK], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"what was to ask in a container has failed: {done.stderr.strip()}")
    return [Answer(_address(seen), error) for seen, error in json.loads(done.stdout)]


def _of_server(server: Server) -> Json:
    return {"address": str(server.address), "port": server.port, "protocol": server.protocol}


def _server(given: Json) -> Server:
    return Server(OWN, ip_address(given["address"]), given["port"], given["protocol"])


def _of_probe(probe: Probe) -> Json:
    return {
        "server": _of_server(probe.server),
        "address": _text(probe.address),
        "port": probe.port,
        "source": _text(probe.source),
        "size": probe.size,
    }


def _probe(given: Json) -> Probe:
    address, source = _address(given["address"]), _address(given["source"])
    return Probe(OWN, _server(given["server"]), address, given["port"], source, given["size"])


def _text(address: IPAddress | None) -> str:
    return str(address) if address else ""


def _address(text: str) -> IPAddress | None:
    return ip_address(text) if text else None
