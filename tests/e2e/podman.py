"""podman on a node of the lab, with CNI for its networks: all that it keeps is in the node's directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from underlay.lab.containerd.image import NAME, write_image
from underlay.lab.containerd.node import ContainerdNode
from underlay.lab.namespace import run
from underlay.lab.pod import Json

# JSON strings, lists and booleans are TOML too.
CONFIG = """
[network]
network_backend = "cni"
cni_plugin_dirs = [{bin_dir}]
network_config_dir = {networks}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""


def why_no_podman(node: ContainerdNode) -> str:
    """Why podman can't do this here, or nothing: from version 5 on it is built without CNI."""
    if not shutil.which("podman"):
        return "not installed"
    if not node.space.is_open:
        node.space.open()
    podman = Podman(node, {})
    done = subprocess.run(podman.command("info"), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no CNI in this version: {done.stderr.strip()}"


@dataclass(frozen=True)
class Podman:
    """Its networks are by name; they are written when it is asked for the first time."""

    node: ContainerdNode
    networks: Mapping[str, Json]

    def load_image(self) -> None:
        archive = os.path.join(self.node.directory, "image.tar")
        write_image(archive)
        self.run("load", "--quiet", "--input", archive)

    def start(self, name: str, network: str, *options: str) -> None:
        """A container that sleeps, with a NIC of that network."""
        cgroup = f"--cgroup-parent={self.node.space.cgroup}"
        self.run("run", "--detach", "--name", name, "--network", network, cgroup, *options, NAME)

    def remove(self, name: str) -> None:
        self.run("rm", "--force", "--time", "0", name)

    def run(self, *arguments: str) -> str:
        """The standard output of a call of it."""
        return run(*self.command(*arguments))

    def command(self, *arguments: str) -> list[str]:
        config = self._configure()
        places = {"root": f"{self.node.directory}/podman", "runroot": "/run/podman", "tmpdir": "/run/libpod"}
        options = [f"--{name}={place}" for name, place in places.items()]
        return [
            *self.node.space.entering(),
            "env",
            f"CONTAINERS_CONF={config}",
            "podman",
            *options,
            *arguments,
        ]

    def _configure(self) -> str:
        networks = os.path.join(self.node.directory, "podman.d")
        os.makedirs(networks, exist_ok=True)
        for name, network in self.networks.items():
            with open(os.path.join(networks, f"{name}.conflist"), "w", encoding="utf-8") as file:
                json.dump(network, file)
        values = {"bin_dir": self.node.containerd.bin_dir, "networks": networks}
        path = os.path.join(self.node.directory, "containers.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(**{name: json.dumps(value) for name, value in values.items()}))
        return path
