"""containerd on one node of the lab, in the node's `Space`: with configuration, directories, socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import dataclass

from underlay.lab.containerd.cri import Cri
from underlay.lab.containerd.grpc import RpcError
from underlay.lab.containerd.image import NAME, write_image
from underlay.lab.containerd.space import Space
from underlay.lab.errors import LabError
from underlay.lab.namespace import run
from underlay.lab.pod import Json
from underlay.lab.process import Process, until

PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
    "unshare": "util-linux",
}
NAMESPACE = "k8s.io"  # containerd's, for what CRI makes
# Its state is on the node's own /run. It has to work without AppArmor, hugepages and CAP_SYS_RESOURCE.
CONFIG = """
version = 2
root = {root}
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = {socket}
[ttrpc]
  address = "/run/containerd/ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {image}
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {bin_dir}
    conf_dir = {conf_dir}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def missing() -> list[str]:
    """The packages that must be installed first, as Debian names them."""
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})


@dataclass(frozen=True)
class Containerd:
    """The values are there before it is started, and its directory after it has ended.

    `bin_dir` holds all CNI plugins, `loopback` too.
    """

    space: Space
    bin_dir: str

    def set_network(self, network: Json, name: str = "10-lab.conflist") -> None:
        """Writes a configuration list where containerd looks: the first of them is every pod's eth0."""
        os.makedirs(self.conf_dir, exist_ok=True)
        with open(os.path.join(self.conf_dir, name), "w", encoding="utf-8") as file:
            json.dump(network, file, indent=2)

    def start(self) -> None:
        """Starts it, with its image; what it has kept of an earlier life is there again."""
        if packages := missing():
            raise LabError(f"containerd cannot run here: install {', '.join(packages)}")
        if not self.space.is_open:
            self.space.open()
        self._configure()
        command = ["containerd", "--config", self._path("config.toml")]
        self.process.start(command, self.space.entering())
        self.process.ready(self._answers, "containerd")
        if not self.cri.has_image(NAME):
            self._import_image()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends containerd alone: pods go on, as on a node where it is updated, or crashes."""
        self.process.end(number)

    @property
    def cri(self) -> Cri:
        return Cri(self._path("containerd.sock"))

    @property
    def process(self) -> Process:
        return Process(self._path("containerd.process"), self._path("containerd.log"))

    @property
    def conf_dir(self) -> str:
        return self._path("net.d")

    @property
    def logs(self) -> str:
        """Where containers' output goes."""
        return self._path("logs")

    @property
    def client(self) -> list[str]:
        """The beginning of a command of containerd's own client, for anywhere on the machine."""
        ctr = ["ctr", "--address", self.cri.socket, "--namespace", NAMESPACE]
        return [*self.space.entering(), *ctr]

    def _configure(self) -> None:
        values = {
            "root": self._path("root"),
            "socket": self.cri.socket,
            "image": NAME,
            "bin_dir": self.bin_dir,
            "conf_dir": self.conf_dir,
        }
        with open(self._path("config.toml"), "w", encoding="utf-8") as file:
            file.write(CONFIG.format(**{name: json.dumps(value) for name, value in values.items()}))

    def _import_image(self) -> None:
        archive = self._path("image.tar")
        write_image(archive)
        run(*self.client, "images", "import", archive)
        os.unlink(archive)
        until(lambda: self.cri.has_image(NAME), "the image is not there")

    def _answers(self) -> bool:
        """Whether it serves pods: the socket is there a moment before that."""
        try:
            return bool(self.cri.version())
        except (RpcError, OSError):
            return False

    def _path(self, name: str) -> str:
        return os.path.join(self.space.directory, name)
