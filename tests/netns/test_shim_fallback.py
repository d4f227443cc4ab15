"""The shim where no agent answers: Python does it, or the runtime is told to try again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import underlay
from tests.netns.shims import Shim, build, installed, package_that_tells, refusal
from tests.netns.wire import Answering, Handler, serving
from underlay.install.executables import launcher

PACKAGE_DIR = os.path.dirname(os.path.dirname(underlay.__file__))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim") / "shim")


@pytest.fixture
def shim(built: Path, tmp_path: Path) -> Shim:
    return installed(built, tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return package_that_tells(tmp_path)


def refusing(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def hangs_up(after: int) -> Handler:
    """Closes the connection when it has read so many bytes."""

    def handler(connection: socket.socket) -> None:
        left = after
        while left:
            left -= len(connection.recv(left))

    return handler


def is_told(done: subprocess.CompletedProcess[bytes], stdin: bytes, **variables: str) -> None:
    """The package that tells was called with all that the shim was called with, and nothing else is open."""
    assert (done.returncode, done.stderr) == (7, b"")
    told = json.loads(done.stdout)
    assert told["name"] == "veth"
    assert told["stdin"] == hashlib.sha256(stdin).hexdigest()
    assert variables.items() <= told["variables"].items()
    assert set(told["variables"]) == {"CNI_COMMAND", "UNDERLAY_SOCKET", *variables}
    assert told["descriptors"] == ["0", "1", "2"]
    assert told["flags"] == [1, 1]


@pytest.mark.parametrize(
    "make",
    [lambda _: None, refusing, Path.touch, Path.mkdir],
    ids=["nothing", "refused", "file", "directory"],
)
def test_where_no_agent_listens_python_does_it(
    shim: Shim, package: Path, make: Callable[[Path], None]
) -> None:
    shim.falls_back_on(package)
    make(shim.socket)
    stdin = os.urandom(4 << 20)

    done = shim.call(stdin, CNI_ARGS="a=b", CNI_NETNS="/proc/self/ns/net", ANYTHING="else")

    is_told(done, stdin, CNI_ARGS="a=b", CNI_NETNS="/proc/self/ns/net", ANYTHING="else")


@pytest.mark.parametrize("after", [0, 1, 4, 100, 2 << 20, None], ids=str)
def test_where_the_agent_hangs_up_before_it_answers_python_does_it(
    shim: Shim, package: Path, after: int | None
) -> None:
    shim.falls_back_on(package)
    stdin = os.urandom(4 << 20)

    with serving(shim.socket, Answering(lambda _: b"") if after is None else hangs_up(after)):
        done = shim.call(stdin)

    is_told(done, stdin)


def test_a_socket_whose_path_is_too_long_is_none(shim: Shim, package: Path) -> None:
    shim.falls_back_on(package)

    is_told(shim.call(b"in", UNDERLAY_SOCKET="/" + "x" * 107), b"in")


def test_a_pod_that_may_be_there_and_cannot_be_opened_is_for_python_to_judge(
    shim: Shim, package: Path, tmp_path: Path
) -> None:
    shim.falls_back_on(package)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    agent = Answering()

    with serving(shim.socket, agent):
        done = shim.call(b"in", CNI_NETNS=str(loop))

    is_told(done, b"in", CNI_NETNS=str(loop))
    assert agent.requests == []


@pytest.mark.parametrize(
    ("stdin", "variables"),
    [
        (b'{"cniVersion": "0.4.0"}', {"CNI_COMMAND": "VERSION"}),
        (b"", {"CNI_COMMAND": "ADD"}),
        (b"{", {"CNI_COMMAND": "STATUS", "CNI_PATH": "/"}),
        (b"{}", {"CNI_COMMAND": ""}),
        (b"", {}),
    ],
    ids=str,
)
def test_python_answers_as_its_launcher_would(
    shim: Shim, tmp_path: Path, stdin: bytes, variables: dict[str, str]
) -> None:
    shim.falls_back_on(PACKAGE_DIR)
    plugin = tmp_path / "veth"
    plugin.write_text(launcher("veth", sys.executable, PACKAGE_DIR))
    plugin.chmod(0o755)

    by_shim, by_launcher = (
        subprocess.run(
            [path], input=stdin, env={"UNDERLAY_SOCKET": str(shim.socket), **variables},
            cwd="/", capture_output=True, check=False,
        )
        for path in (shim.path, plugin)
    )  # fmt: skip

    assert (by_shim.returncode, by_shim.stdout, by_shim.stderr) == (
        by_launcher.returncode,
        by_launcher.stdout,
        by_launcher.stderr,
    )
    assert by_shim.stdout or by_shim.stderr


@pytest.mark.parametrize("has_python", [True, False])
def test_a_person_is_told_what_it_is_without_typing_anything(shim: Shim, has_python: bool) -> None:
    if has_python:
        shim.falls_back_on(PACKAGE_DIR)
    keyboard, typed = os.pipe()
    done = subprocess.run([shim.path], stdin=keyboard, env={}, capture_output=True, check=False)
    os.close(keyboard)
    os.close(typed)

    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"CNI plugin veth (underlay)\n")


def test_it_is_replaced_while_it_runs_and_still_finds_its_python(shim: Shim, package: Path) -> None:
    shim.falls_back_on(package)
    with shim.start() as process:
        other = shim.path.with_name("new")
        shutil.copy(shim.path, other)
        other.rename(shim.path)
        stdout, stderr = process.communicate(b"in")

    is_told(subprocess.CompletedProcess([], process.returncode, stdout, stderr), b"in")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, ".underlay-python: No such file or directory"),
        ("", ".underlay-python: not two lines"),
        (f"{sys.executable}\n", ".underlay-python: not two lines"),
        (f"{sys.executable}\n/without an end", ".underlay-python: not two lines"),
        (f"{sys.executable}\n\n", ".underlay-python: not two lines"),
        ("python\n/package\n", ".underlay-python: not two lines"),
        (f"/{'x' * 9000}\n/package\n", ".underlay-python: not two lines"),
        ("/gone/python\n/package\n", "/gone/python: No such file or directory"),
        ("/dev/null\n/package\n", "/dev/null: Permission denied"),
    ],
)
def test_without_python_the_runtime_tries_again(shim: Shim, text: str | None, reason: str) -> None:
    if text is not None:
        shim.write_python_file(text)

    said = refusal(shim.call(b"{}"), 11)

    assert said.startswith(f"no agent answers at {shim.socket}, and there is no Python")
    assert "connect: No such file or directory; " in said
    assert reason in said


def test_where_no_socket_is_named_it_is_the_one_below_run(shim: Shim) -> None:
    for variables in ({"CNI_COMMAND": "ADD"}, {"CNI_COMMAND": "ADD", "UNDERLAY_SOCKET": ""}):
        done = subprocess.run([shim.path], input=b"", env=variables, capture_output=True, check=False)
        assert "no agent answers at /run/underlay/agent.sock," in refusal(done, 11)


def test_an_error_is_json_whatever_the_path_of_the_socket(shim: Shim) -> None:
    assert "no agent answers at /??????," in refusal(shim.call(UNDERLAY_SOCKET='/\\"\n\x7fü'), 11)
    assert "name too long" in refusal(shim.call(UNDERLAY_SOCKET="/" + "x" * 100_000), 11)
