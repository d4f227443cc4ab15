"""An agent in a container: what a configuration names is on the node, and plugins run in the node's root."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.netns.agents import Agent, until
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.server import serving
from tests.netns.nics import Front, links
from tests.netns.world import World
from underlay.install import is_built
from underlay.lab.errors import PluginError
from underlay.lab.namespace import delete

ON_THE_NODE = "/mnt"  # what is below differs: the node's, and ours
SCRIPT = """#!/bin/sh
cat > /mnt/told
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.9/24"}]}'
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """The node's root directory, as a container has it: the same files, and some more."""
    # Below /run and never removed: a file that is removed through a bind mount is gone on this machine.
    directory = Path(tempfile.mkdtemp(prefix="host-root-", dir="/run"))
    subprocess.run(["mount", "--rbind", "/", directory], check=True)
    # What is mounted comes here too; but to take this off must not take off every namespace's name as well.
    subprocess.run(["mount", "--make-rslave", directory], check=True)
    for where in (f"{directory}{ON_THE_NODE}", ON_THE_NODE):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", where], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", directory, ON_THE_NODE], check=True)


@pytest.fixture
def agent(world: World, root: Path) -> Iterator[Agent]:
    if not is_built():
        pytest.skip("the agent: no C compiler has built the shim that asks it")
    with closing(Agent(world.state)) as agent:
        agent.start("--host-root", f"{root}/")
        world.environment["UNDERLAY_SOCKET"] = agent.socket
        yield agent


@pytest.fixture
def front(world: World, agent: Agent, root: Path) -> Front:
    """The definitions and the plugin `told` are on the node alone."""
    front = Front(world)
    front.define("told", {"cniVersion": "1.0.0", "plugins": [{"type": "told"}]})
    front.define("ours", {"cniVersion": "1.0.0", "plugins": [{"type": "ours"}]})
    node = Path(f"{root}{ON_THE_NODE}")
    shutil.copytree(front.definitions, node / "definitions")
    (node / "bin").mkdir()
    (node / "bin/told").write_text(SCRIPT)
    (node / "bin/told").chmod(0o755)
    (node / "ready").touch()
    front.keys = {
        "nadDir": f"{ON_THE_NODE}/definitions",
        "binDir": f"{ON_THE_NODE}/bin",
        "readinessIndicatorFile": f"{ON_THE_NODE}/ready",
        "defaultNetwork": "default/told",
    }
    assert agent.process.poll() is None
    return front


def test_plugins_definitions_and_the_readiness_file_are_those_of_the_node(front: Front, root: Path) -> None:
    pod = front.world.pod()

    result = front.add(pod, "told")

    assert [ip["address"] for ip in result["ips"]] == ["10.7.0.9/24"]
    assert json.loads(Path(f"{root}{ON_THE_NODE}/told").read_text())["name"] == "told"
    front.check(pod)
    front.delete(pod)
    assert links(pod) == []


def test_a_pod_that_is_gone_is_taken_off_by_the_plugins_of_the_node(
    front: Front, agent: Agent, root: Path
) -> None:
    pod = front.world.pod()
    front.add(pod, "told")
    agent.end()
    agent.start("--host-root", f"{root}/", "--gc-seconds", "1")
    front.check(pod)  # by which the agent knows this node
    told = Path(f"{root}{ON_THE_NODE}/told")
    told.unlink()

    delete(pod.netns)

    until(lambda: not any(Path(front.world.state).rglob("*.json")))
    assert json.loads(told.read_text())["name"] == "told"


def test_the_kubeconfig_is_that_of_the_node(front: Front, root: Path, certificates: Certificates) -> None:
    with serving(certificates) as api:
        api.put_nad("default", "asked", '{"cniVersion": "1.0.0", "type": "told"}')
        api.kubeconfig(Path(f"{root}{ON_THE_NODE}/kubeconfig"))
        front.keys["kubeconfig"] = f"{ON_THE_NODE}/kubeconfig"

        front.add(front.world.pod(), "asked")

    assert json.loads(Path(f"{root}{ON_THE_NODE}/told").read_text())["name"] == "asked"


def test_a_plugin_that_is_on_our_side_alone_is_not_there(front: Front) -> None:
    ours = Path(ON_THE_NODE) / "bin"
    ours.mkdir()
    (ours / "ours").write_text(SCRIPT)
    (ours / "ours").chmod(0o755)

    with pytest.raises(PluginError, match=r'"ours" is an executable in none of /mnt/bin:'):
        front.add(front.world.pod(), default="default/ours")


def test_a_plugin_that_can_not_be_started_there_is_an_error_that_names_it(front: Front, root: Path) -> None:
    (Path(f"{root}{ON_THE_NODE}") / "bin/told").write_text("#!/no/such/interpreter\n")

    with pytest.raises(PluginError, match=f"executing /mnt/bin/told in {root}: chroot could not") as refused:
        front.add(front.world.pod())

    assert refused.value.code == 5
