"""`underlay install --watch`: what others remove or change is there again, and each change is a line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.netns.agents import SECONDS, until
from tests.netns.command import PACKAGE_DIR, underlay
from underlay.install.inotify import Inotify
from underlay.install.kubeconfig import SERVICE_ACCOUNT, kubeconfig_file
from underlay.lab.pod import Json

NETWORK = '{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "veth"}]}'


@dataclass
class Watching:
    """A running watch over a node's directories below `root`. To be closed."""

    root: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *more: str, **env: str) -> None:
        """Returns when the first installation is whole."""
        (self.root / "network.json").write_text(NETWORK)
        options = {"bin-dir": "bin", "conf-dir": "net.d", "names-dir": "ip", "network": "network.json"}
        argv = [part for name, path in options.items() for part in (f"--{name}", str(self.root / path))]
        with (self.root / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "underlay", "install", "--watch", *argv, *more],
                env={**os.environ, "PYTHONPATH": PACKAGE_DIR, **env},
                stderr=stderr,
            )
        self.processes.append(process)
        until(lambda: self.events("installed-whole"))

    def events(self, event: str) -> list[Json]:
        lines = [json.loads(line) for line in (self.root / "stderr").read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def end(self) -> int:
        self.processes[-1].send_signal(signal.SIGTERM)
        return self.processes[-1].wait(SECONDS)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(SECONDS)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watching]:
    with closing(Watching(tmp_path)) as watch:
        watch.start()
        yield watch


def test_what_is_removed_or_changed_is_repaired_and_said(watch: Watching) -> None:
    veth, names = watch.root / "bin/veth", watch.root / "ip/rt_protos.d/underlay.conf"
    whole, named = veth.read_bytes(), names.read_text()

    veth.unlink()
    until(veth.exists)
    names.write_text("")
    until(lambda: names.read_text() == named)

    assert veth.read_bytes() == whole
    until(lambda: len(watch.events("repaired")) == 2)
    assert [(each["path"], each["why"]) for each in watch.events("repaired")] == [
        (str(veth), "it was removed"),
        (str(names), "it was changed"),
    ]


def test_a_whole_directory_that_is_removed_is_made_again(watch: Watching) -> None:
    for path in (watch.root / "net.d").iterdir():
        path.unlink()
    (watch.root / "net.d").rmdir()

    until((watch.root / "net.d/00-underlay.conflist").exists)
    (watch.root / "net.d/00-underlay.conflist").unlink()
    until((watch.root / "net.d/00-underlay.conflist").exists)


def test_what_cilium_renames_is_there_again_and_the_setting_is_named(watch: Watching) -> None:
    ours = watch.root / "net.d/00-underlay.conflist"

    ours.rename(f"{ours}.cilium_bak")

    until(ours.exists)
    until(lambda: watch.events("renamed-by-Cilium"))
    (event,) = watch.events("renamed-by-Cilium")
    assert "cni.exclusive=false" in event["why"]


def test_a_signal_ends_it_and_all_stays(watch: Watching) -> None:
    assert watch.end() == 0
    assert (watch.root / "bin/veth").exists()


def test_another_signal_is_none_that_ends_it(watch: Watching) -> None:
    watch.processes[-1].send_signal(signal.SIGHUP)
    (watch.root / "bin/veth").unlink()

    until((watch.root / "bin/veth").exists)


def test_what_cannot_be_repaired_is_said_and_tried_again(watch: Watching) -> None:
    veth = watch.root / "bin/veth"
    veth.unlink()
    veth.mkdir()

    until(lambda: watch.events("failed"))
    veth.rmdir()
    until(veth.is_file)


def test_directories_are_watched_as_far_as_the_kernel_lets_us(tmp_path: Path) -> None:
    with closing(Inotify()) as changes:
        assert changes.watch([str(tmp_path), str(tmp_path / "missing")])
        assert not changes.watch([str(tmp_path)])
        (tmp_path / "file").write_text("")
        assert os.read(changes.fileno(), 1 << 10)
        changes.drain()
        with pytest.raises(BlockingIOError):
            os.read(changes.fileno(), 1)


# The kubeconfig


def account(directory: Path, token: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "ca.crt").write_text("a certificate")
    (directory / "token").write_text(f"{token}\n")
    return str(directory)


def test_a_kubeconfig_follows_its_token(tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "fd00:96::1", "KUBERNETES_SERVICE_PORT": "443"}
    first = kubeconfig_file("/etc/kubeconfig", env, account(tmp_path / "account", "one"))
    second = kubeconfig_file("/etc/kubeconfig", env, account(tmp_path / "account", "two"))

    assert b'server: "https://[fd00:96::1]:443"' in first.content
    assert b'token: "one"' in first.content
    assert b'token: "two"' in second.content
    assert first.mode == 0o600


@pytest.fixture
def pod_account() -> Iterator[Path]:
    """The token of a pod where every pod has it, put there as a kubelet does: a link that is replaced."""
    directory = Path(SERVICE_ACCOUNT)
    directory.mkdir(parents=True)
    rotate(directory, "first")
    for name in ("token", "ca.crt"):
        (directory / name).symlink_to(f"..data/{name}")
    yield directory
    shutil.rmtree(directory)


def rotate(directory: Path, token: str) -> None:
    account(directory / f"..{token}", token)
    (directory / "..data.new").symlink_to(f"..{token}")
    (directory / "..data.new").rename(directory / "..data")


def test_a_token_that_is_rotated_is_written_again(tmp_path: Path, pod_account: Path) -> None:
    with closing(Watching(tmp_path)) as watch:
        path = tmp_path / "net.d/underlay.d/kubeconfig"
        watch.start("--kubeconfig", str(path), KUBERNETES_SERVICE_HOST="10.96.0.1")
        assert 'token: "first"' in path.read_text()

        rotate(pod_account, "second")

        until(lambda: 'token: "second"' in path.read_text())
        until(lambda: watch.events("repaired"))


def test_without_a_pod_there_is_no_token_to_write(tmp_path: Path) -> None:
    options = [f"--{name}-dir={tmp_path}/{name}" for name in ("bin", "conf", "names")]

    done = underlay("install", *options, "--kubeconfig", "/etc/kubeconfig")

    assert done.returncode == 1
    assert "KUBERNETES_SERVICE_HOST is not set" in done.stderr
    assert list(tmp_path.iterdir()) == []
