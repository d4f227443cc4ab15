"""Reads all facts of a node: the one place that does, for `underlay status`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping

import underlay
from underlay.agent.about import About, ask
from underlay.cni.errors import CniError
from underlay.cni.verify import lacking, own_objects
from underlay.install.executables import PYTHON_FILE, is_ours
from underlay.install.files import Change, found_at
from underlay.install.installing import in_the_way
from underlay.install.manifest import Manifest, read_manifest
from underlay.install.site import Site
from underlay.leftovers.found import leftovers
from underlay.leftovers.look import look
from underlay.leftovers.seen import Seen
from underlay.objects import HOST, IP
from underlay.oneshot import HostNode
from underlay.plugins import PLUGINS
from underlay.record import Record
from underlay.status import firewall, managers
from underlay.status.facts import MISSING, OTHERS, OURS, Firewall, Installed, Link, NodeFacts

IPVS = "kube-ipvs0"  # every ClusterIP is there: no address of the node's own
LIBERAL = "netfilter/nf_conntrack_tcp_be_liberal"
NFT_SECONDS = 10.0
OWN_PREFIXES = ("vx_", "mv_")


def read(node: HostNode, site: Site, socket: str) -> NodeFacts:
    """Everything, of the node whose namespaces and files these are."""
    seen = look(node)
    with node.kernel("") as kernel:
        forwarding = {v: kernel.sysctl(HOST, f"ipv{v}/conf/all/forwarding") or "" for v in (4, 6)}
        is_liberal = kernel.sysctl(HOST, LIBERAL) == "1"
    return NodeFacts(
        version=underlay.__version__,
        now=time.time(),
        socket=socket,
        agent=_agent(socket),
        installed=_installed(site),
        seen=seen,
        leftovers=leftovers(seen),
        missing={r.owner: lost for r in seen.records if r.owner in seen.at_home if (lost := _lost(r, node))},
        forwarding=forwarding,
        addresses=tuple(_node_addresses(seen)),
        links=tuple(_links(seen, site)),
        networkd=_networkd(site),
        firewall=_firewall(),
        is_liberal=is_liberal,
    )


def _agent(socket: str) -> About | str:
    try:
        return ask(socket)
    except OSError as error:
        return f"{socket}: {error.strerror or error}"
    except ValueError as error:
        return f"{socket}: {error}"


def _installed(site: Site) -> Installed:
    manifest = read_manifest(site)
    states = {name: _state(site.at(os.path.join(site.bin_dir, name))) for name in PLUGINS}
    is_asked = manifest is not None and any(path.startswith(site.conf_dir) for path in manifest.files)
    return Installed(
        bin_dir=site.bin_dir,
        version=manifest.version if manifest else "",
        executables=states,
        has_fallback=os.path.exists(site.at(os.path.join(site.bin_dir, PYTHON_FILE))),
        changed=tuple(_changed(manifest, site, states)) if manifest else (),
        in_the_way=tuple(in_the_way(site)) if is_asked else (),
    )


def _state(at: str) -> str:
    try:
        found = found_at(at)
    except OSError:
        return OTHERS
    if found is None:
        return MISSING
    return OURS if found.mode & 0o111 and is_ours(found.content) else OTHERS


def _changed(manifest: Manifest, site: Site, states: Mapping[str, str]) -> Iterator[Change]:
    """Files of the installation; of executables it is known already whose they are."""
    for path in manifest.files:
        if os.path.dirname(path) == site.bin_dir and os.path.basename(path) in states:
            continue
        found = found_at(site.at(path))
        if found is None:
            yield Change("gone", path, "is missing")
        elif not manifest.knows(path, found):
            yield Change("changed", path, "is not as it was installed")


def _lost(record: Record, node: HostNode) -> tuple[str, ...]:
    try:
        with node.kernel(record.netns) as kernel:
            return tuple(str(obj) for obj, _ in lacking(own_objects(record), kernel))
    except CniError as error:
        return (error.msg,)


def _node_addresses(seen: Seen) -> Iterator[IP]:
    ipvs = seen.link(IPVS)
    for index, addresses in seen.addresses.items():
        if not (ipvs and ipvs.index == index):
            yield from (address.ip for address in addresses)


def _links(seen: Seen, site: Site) -> Iterator[Link]:
    """Those that calls have made: of records, and by name of networks."""
    recorded = {obj.dev for obj in seen.wanted if getattr(obj, "ns", "") == HOST and hasattr(obj, "dev")}
    for link in seen.links:
        is_ours = link.name in recorded and link.kind in ("veth", "vxlan", "macvlan")
        if is_ours or link.name.startswith(OWN_PREFIXES):
            yield Link(link.name, _manager(link.index, site))


def _manager(index: int, site: Site) -> str:
    if managers.is_managed_by_network_manager(_text(site.at(f"{managers.NETWORK_MANAGER}/{index}"))):
        return "NetworkManager"
    if managers.is_managed_by_networkd(_text(site.at(f"{managers.NETWORKD_LINKS}/{index}"))):
        return "systemd-networkd"
    return ""


def _networkd(site: Site) -> tuple[str, ...]:
    """What a running one takes away, () where none runs."""
    if not os.path.exists(site.at(managers.NETWORKD_STATE)):
        return ()
    paths = [f"{directory}/networkd.conf" for directory in managers.NETWORKD_CONFIG]
    dropped: dict[str, str] = {}
    for directory in managers.NETWORKD_CONFIG:
        inside = site.at(f"{directory}/networkd.conf.d")
        names = os.listdir(inside) if os.path.isdir(inside) else []
        dropped |= {name: f"{directory}/networkd.conf.d/{name}" for name in names if name.endswith(".conf")}
    paths += [dropped[name] for name in sorted(dropped)]
    return managers.foreign_settings(_text(site.at(path)) for path in paths)


def _firewall() -> Firewall:
    try:
        every = firewall.chains(_nft("-j", "list", "chains"))
        asked = [(chain, _nft("list", "chain", *chain[:3])) for chain in firewall.of_kube_proxy(every)]
    except FileNotFoundError:
        return firewall.unknown("nft is not here")
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        return firewall.unknown(f"nft has failed: {error}")
    invalid = tuple(str(chain) for chain, listed in asked if firewall.drops_invalid(listed))
    is_older = "filter" in _text("/proc/net/ip_tables_names").split()
    why = "rules of iptables-legacy are there, and nft does not show those" if is_older else ""
    return Firewall(firewall.dropping(every), invalid, why)


def _nft(*args: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "LC_ALL": "C"}
    argv = ["nft", *args]
    return subprocess.run(
        argv, env=env, check=True, capture_output=True, text=True, timeout=NFT_SECONDS
    ).stdout


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
