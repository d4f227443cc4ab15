"""The lab's overlay as a CNI plugin, so that a container runtime can make its pods.

It stands for the overlay of a cluster: what another main plugin does before ours, and no more. It is told
where it notes which numbers are taken; the node it knows by its address on the LAN.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import suppress

from underlay.install.executables import PACKAGE
from underlay.lab.addresses import VERSIONS
from underlay.lab.errors import LabError
from underlay.lab.namespace import OWN, Netns
from underlay.lab.overlay import FIRST_POD, METRICS, OverlayPod, host_end
from underlay.lab.pod import Json
from underlay.lab.topology import Node

TYPE = "lab-overlay"
CNI_VERSION = "1.0.0"
LAST_POD = 254


def network(leases: str) -> Json:
    """Its configuration list; `leases` is a directory for the numbers of all nodes' pods."""
    return {"cniVersion": CNI_VERSION, "name": "overlay", "plugins": [{"type": TYPE, "leases": leases}]}


def install(bin_dir: str) -> None:
    """Writes its executable."""
    path, package_dir = os.path.join(bin_dir, TYPE), os.path.dirname(PACKAGE)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from underlay.lab.overlay_plugin import main; main()"
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nexec {shlex.join([sys.executable, '-IS', '-c', code, package_dir])}\n")
        os.fchmod(file.fileno(), 0o755)


def main() -> None:
    """One call, in the node's network namespace."""
    verb, config = os.environ["CNI_COMMAND"], json.load(sys.stdin)
    try:
        if verb == "ADD":
            print(json.dumps(_add(config, os.environ["CNI_CONTAINERID"], os.environ["CNI_NETNS"])))
        elif verb == "DEL":
            _delete(config, os.environ["CNI_CONTAINERID"])
        elif verb == "VERSION":
            print(json.dumps({"cniVersion": CNI_VERSION, "supportedVersions": [CNI_VERSION]}))
    except LabError as error:
        print(json.dumps({"cniVersion": CNI_VERSION, "code": 100, "msg": f"{TYPE}: {error}"}))
        sys.exit(1)


def _add(config: Json, container: str, netns: str) -> Json:
    if (ifname := os.environ["CNI_IFNAME"]) != "eth0":
        raise LabError(f"{ifname}: the overlay is for a pod's own NIC, eth0")
    node = _node()
    pod = OverlayPod(Netns(netns), node, _lease(_leases(config, node), container, _links()), METRICS)
    pod.up()
    widths = {4: 32, 6: 128}
    ips = [{"address": f"{pod.addresses.of(v)}/{widths[v]}", "interface": 0} for v in VERSIONS]
    (link,) = json.loads(pod.netns.run("ip", "-json", "link", "show", "eth0"))
    interface = {"name": "eth0", "mac": link["address"], "sandbox": netns}
    return {"cniVersion": CNI_VERSION, "interfaces": [interface], "ips": ips, "dns": {}}


def _delete(config: Json, container: str) -> None:
    node = _node()
    leases = _leases(config, node)
    for number in os.listdir(leases):
        path = os.path.join(leases, number)
        if os.readlink(path) == container:
            with suppress(LabError):  # it is gone with the pod's namespace
                OverlayPod(OWN, node, int(number)).down()
            os.unlink(path)


def _node() -> Node:
    """The number of a node is that of its addresses."""
    (link,) = json.loads(OWN.run("ip", "-json", "-4", "addr", "show", "dev", "eth0"))
    return Node(OWN, (), int(link["addr_info"][0]["local"].rpartition(".")[2]))


def _leases(config: Json, node: Node) -> str:
    directory = os.path.join(config["leases"], str(node.number))
    os.makedirs(directory, exist_ok=True)
    return directory


def _links() -> set[str]:
    """The names of the node's links."""
    return {link["ifname"] for link in json.loads(OWN.run("ip", "-json", "link"))}


def _lease(leases: str, container: str, links: set[str]) -> int:
    """The first number that is free: symlink(2) takes it, and says whose it is, at once. Those that have a
    link and no lease are pods that the lab has made without us."""
    for number in range(FIRST_POD, LAST_POD + 1):
        if host_end(number) in links:
            continue
        with suppress(FileExistsError):
            os.symlink(container, os.path.join(leases, str(number)))
            return number
    raise LabError(f"{leases}: no address is left")
