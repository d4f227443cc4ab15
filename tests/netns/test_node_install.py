"""A whole installation on a node, and its end: what others had is there again, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.netns.command import underlay
from tests.netns.world import LAN_A, Footprint, World, address, failures
from underlay.install import is_built
from underlay.install.errors import InstallError
from underlay.install.installing import Wish, install
from underlay.install.site import Site
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.namespace import Netns, delete
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime
from underlay.plugins import PLUGINS

OLDER = b"#!/bin/sh\necho an older veth\n"
OVERLAY = b'{"cniVersion": "1.0.0", "name": "overlay", "plugins": [{"type": "bridge"}]}'


@dataclass(frozen=True)
class Machine:
    """The directories of a node, below one that stands for its root; `netns` is its network namespace."""

    root: Path
    netns: Netns | None = None
    state: str = "/nonexistent/state"

    def run(self, verb: str, *options: str, code: int = 0) -> list[str]:
        """The lines that a command prints; it has to end with that exit code."""
        own = (*self.options, *self.names) if verb == "install" else self.options
        done = underlay(verb, *own, *options, node=self.netns)
        assert (done.returncode, done.stderr) == (code, "")
        return done.stdout.splitlines()

    def refused(self, *options: str) -> str:
        """What an installation says that can't be done."""
        done = underlay("install", *self.options, *self.names, *options, node=self.netns)
        assert done.returncode == 1
        return done.stderr

    @property
    def options(self) -> tuple[str, ...]:
        return "--bin-dir", str(self.bin), "--conf-dir", str(self.conf)

    @property
    def names(self) -> tuple[str, ...]:
        return "--names-dir", str(self.root / "iproute2")

    def uninstall(self, *options: str, code: int = 0) -> list[str]:
        return self.run("uninstall", "--state", self.state, *options, code=code)

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def conf(self) -> Path:
        return self.root / "net.d"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "node")


@pytest.fixture
def used(machine: Machine) -> Machine:
    """A node with an older `veth`, a plugin that is none of ours, and an overlay's configuration."""
    machine.bin.mkdir(parents=True)
    machine.conf.mkdir()
    for name, content in (("veth", OLDER), ("bridge", b"#!/bin/sh\n")):
        (machine.bin / name).write_bytes(content)
        (machine.bin / name).chmod(0o755)
    (machine.conf / "10-overlay.conflist").write_bytes(OVERLAY)
    return machine


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and directory below one: permissions, and content."""
    return {
        str(path.relative_to(root)): (
            stat.S_IMODE(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def conflist(machine: Machine, *types: str, name: str = "pods") -> str:
    path = machine.root / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": t} for t in types]})
    )
    return str(path)


def test_installing_twice_changes_nothing(machine: Machine) -> None:
    machine.run("install")
    before = contents(machine.root)
    times = {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")}

    assert machine.run("install") == [f"everything is in place in {machine.bin}"]

    assert contents(machine.root) == before
    assert {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")} == times


def test_a_clean_node_is_clean_again(machine: Machine) -> None:
    machine.root.mkdir()

    machine.run("install")
    machine.uninstall()

    assert contents(machine.root) == {}


def test_what_others_had_is_there_again(used: Machine) -> None:
    network = conflist(used, "bridge", "veth")
    before = contents(used.root)

    lines = used.run("install", "--network", network)
    assert f"kept aside {used.bin}/veth.before-underlay: it is not ours; uninstall brings it back" in lines
    assert (used.bin / "veth.before-underlay").read_bytes() == OLDER
    assert (used.conf / "10-overlay.conflist").read_bytes() == OVERLAY
    assert sorted(path.name for path in used.conf.iterdir())[0] == "00-underlay.conflist"
    used.run("install", "--network", network)

    lines = used.uninstall()

    assert f"brought back {used.bin}/veth: it was kept as veth.before-underlay" in lines
    assert contents(used.root) == before


def test_a_dry_run_says_what_would_be_done(used: Machine) -> None:
    used.run("install", "--network", conflist(used, "bridge", "veth"))
    before = contents(used.root)

    lines = used.uninstall("--dry-run")

    assert contents(used.root) == before
    assert lines[0] == f"would be removed {used.conf}/00-underlay.conflist"
    assert f"would be brought back {used.bin}/veth: it was kept as veth.before-underlay" in lines


def test_an_executable_of_ours_is_known_by_its_content_and_replaced(machine: Machine) -> None:
    machine.run("install")
    shutil.copy(machine.bin / "veth", machine.bin / "router.old")
    os.rename(machine.bin / "router.old", machine.bin / "router")
    (machine.bin / ".underlay-installed.json").unlink()  # as before there were such files
    with (machine.bin / "veth").open("ab") as file:
        file.write(b"\n# of another version\n")

    assert machine.run("install") == [f"replaced {machine.bin}/veth"]
    assert not list(machine.bin.glob("*.before-underlay"))


def test_what_somebody_put_in_our_place_meanwhile_is_left_to_him(machine: Machine) -> None:
    machine.run("install")
    (machine.bin / "veth").write_bytes(OLDER)

    lines = machine.uninstall()

    assert f"left {machine.bin}/veth: somebody has changed it since it was installed" in lines
    assert (machine.bin / "veth").read_bytes() == OLDER


def test_a_configuration_that_was_changed_is_moved_where_no_runtime_reads_it(used: Machine) -> None:
    used.run("install", "--network", conflist(used, "bridge", "veth"))
    changed = used.conf / "00-underlay.conflist"
    changed.write_text(changed.read_text().replace("pods", "others"))

    lines = used.uninstall()

    assert lines[0].startswith(f"moved aside {changed}: somebody has changed it")
    assert sorted(path.name for path in used.conf.iterdir()) == [
        "00-underlay.conflist.changed",
        "10-overlay.conflist",
    ]


def test_a_newer_version_takes_away_what_it_does_not_want(used: Machine) -> None:
    used.run("install", "--network", conflist(used, "veth"))

    lines = used.run("install")

    assert lines == [f"removed {used.conf}/00-underlay.conflist: it is not wanted any more"]


def test_an_executable_that_would_not_work_does_not_get_into_its_place(used: Machine) -> None:
    """What is tried is the file beside, so that nobody has met it."""
    broken = used.root / "shim"
    broken.write_bytes(b"\x7fELF of another machine")
    broken.chmod(0o755)
    site = Site(str(used.bin), str(used.conf), str(used.root / "iproute2"))
    with pytest.raises(InstallError, match=r"veth would not work: Exec format error"):
        install(Wish(site, shim=str(broken)))

    assert (used.bin / "veth").read_bytes() == OLDER
    assert not [path for path in used.bin.iterdir() if "before" in path.name or ".new" in path.name]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "a conflist is one JSON object"),
        ('{"name": "a"}', '"plugins" is no list'),
        ('{"plugins": [{"type": "veth"}]}', "name: null is no name of a network"),
        ('{"name": "a", "plugins": [{}]}', "plugins[0].type: null names no executable"),
        (
            '{"name": "a", "plugins": [{"type": "gone"}]}',
            "has no executable gone, which the network asks for",
        ),
    ],
)
def test_a_network_that_no_runtime_could_use_is_refused_before_anything_is_done(
    machine: Machine, text: str, why: str
) -> None:
    machine.root.mkdir()
    network = machine.root.parent / "network.json"
    network.write_text(text)

    assert why in machine.refused("--network", str(network))
    assert contents(machine.root) == {}


def test_what_comes_before_ours_is_said(used: Machine) -> None:
    (used.conf / "00-multus.conf").write_text("{}")
    (used.conf / "05-cilium.conflist.cilium_bak").write_text("{}")

    lines = used.run("install", "--network", conflist(used, "veth"))

    assert lines[-2:] == [
        f"comes before ours {used.conf}/00-multus.conf: the runtime takes the first by name: rename it,"
        " or remove it",
        f"renamed by Cilium {used.conf}/05-cilium.conflist.cilium_bak: it takes all configurations for its"
        " own: set cni.exclusive=false in Cilium's Helm values",
    ]


def test_names_that_others_have_given_stay(machine: Machine) -> None:
    others = machine.root / "iproute2" / "rt_protos.d"
    others.mkdir(parents=True)
    (others / "a.conf").write_text("# theirs\n0xc9 theirs\n77\tunderlay-claim\n")

    machine.run("install")

    text = (others / "underlay.conf").read_text()
    assert [line for line in text.splitlines() if not line.startswith("#")] == ["203\tunderlay-remote"]


# From a container


@pytest.mark.skipif(not is_built(), reason="the shim: no C compiler has built it here")
def test_from_a_container_the_paths_in_files_are_the_nodes(tmp_path: Path) -> None:
    root = tmp_path / "host"
    (root / "data").mkdir(parents=True)
    (root / "opt").mkdir()
    (root / "opt/cni").symlink_to("/data")  # of the node: not our /data
    network = tmp_path / "network.json"
    network.write_text('{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "veth"}]}')
    before = contents(root)

    done = underlay("install", "--host-root", str(root), "--network", str(network))

    assert (done.returncode, done.stderr) == (0, "")
    assert "installed /opt/cni/bin/veth" in done.stdout
    assert sorted(path.name for path in (root / "data/bin").iterdir()) == sorted(
        [*PLUGINS, ".underlay-installed.json"]
    )
    manifest = (root / "data/bin/.underlay-installed.json").read_text()
    assert str(tmp_path) not in manifest
    assert (root / "etc/cni/net.d/00-underlay.conflist").read_text() == network.read_text()

    done = underlay("uninstall", "--host-root", str(root), "--state", str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(root) == before


# With pods


@pytest.fixture
def node(world: World, tmp_path: Path) -> tuple[Machine, Runtime]:
    """A node on a LAN, installed, whose runtime calls what is there."""
    world.lan(LAN_A)
    there = world.node()
    machine = Machine(tmp_path / "node", there.netns, world.state)
    machine.root.mkdir()
    return machine, replace(world.runtime(there), bin_dirs=(str(machine.bin), *world.bin_dirs[1:]))


def attached(world: World, runtime: Runtime) -> tuple[Json, Pod]:
    """A pod whose NIC macvlan and `veth` have made, and which its node reaches."""
    network, pod = world.network(), world.pod()
    result = runtime.add(network, pod)
    servers = [Server(pod.netns, address(result, version)) for version in VERSIONS]
    assert failures(Probe(runtime.node, server) for server in servers) == []
    return network, pod


def test_a_node_with_pods_is_left_alone_until_they_are_gone(
    world: World, node: tuple[Machine, Runtime]
) -> None:
    machine, runtime = node
    before = Footprint(world, runtime.node)
    machine.run("install")
    network, pod = attached(world, runtime)
    installed = contents(machine.root)

    lines = machine.uninstall(code=3)

    assert lines[0].startswith(
        f"attached eth0 of default/pod, container {pod.container_id}, in lan: veth made"
    )
    assert lines[-1].startswith("Nothing was changed: delete these pods first.")
    assert contents(machine.root) == installed
    runtime.check(network, pod)

    runtime.delete(network, pod)
    machine.uninstall()

    assert contents(machine.root) == {}
    assert before.changes() == []


def test_what_dead_pods_have_left_goes_too(world: World, node: tuple[Machine, Runtime]) -> None:
    machine, runtime = node
    before = Footprint(world, runtime.node)
    machine.run("install")
    _, pod = attached(world, runtime)
    delete(pod.netns)

    lines = machine.uninstall()

    container = pod.container_id
    what = f"eth0 of default/pod, container {container}, in lan (veth)"
    assert f"removed {what}: its network namespace is gone" in lines
    assert contents(machine.root) == {}
    assert before.changes() == []
    assert not Path(world.state).exists()


def test_who_insists_is_told_what_stays_and_pods_keep_it(
    world: World, node: tuple[Machine, Runtime]
) -> None:
    machine, runtime = node
    machine.run("install")
    attached(world, runtime)
    host = Footprint(world, runtime.node)

    lines = machine.uninstall("--force")

    assert lines[0].startswith("kept eth0 of default/pod")
    assert "its DEL will fail" in lines[0]
    assert contents(machine.root) == {}
    assert host.changes() == []


def test_a_configuration_of_others_that_still_calls_us_is_named(machine: Machine) -> None:
    machine.run("install")
    machine.conf.mkdir()
    (machine.conf / "20-lan.conflist").write_text(
        '{"name": "lan", "plugins": [{"type": "macvlan"}, {"type": "veth"}]}'
    )

    assert machine.uninstall()[0] == f"still configured {machine.conf}/20-lan.conflist: it names veth"
