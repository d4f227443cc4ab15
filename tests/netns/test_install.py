"""Installing the executables: whole or not at all, at any time, wherever they are and whoever calls them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.command import PACKAGE_DIR, underlay
from tests.netns.world import LAN_A, World
from underlay.cli.install import WITHOUT_SHIM
from underlay.install import install, is_built
from underlay.install.executables import PYTHON_FILE, SHEBANG_MAX, SHIM, launcher
from underlay.plugins import PLUGINS

SUPPORTED = b'"supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]'


def version(plugin: str | Path, cwd: str = "/") -> bytes:
    """What VERSION prints, in an environment of nothing else."""
    done = subprocess.run(
        [plugin], input=b"", env={"CNI_COMMAND": "VERSION"}, cwd=cwd, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.fixture(params=["shim", "launcher"])
def shim(request: pytest.FixtureRequest) -> str:
    """Both sorts of executable: the path of the shim, "" for Python launchers."""
    if request.param == "shim" and not is_built():
        pytest.skip("the shim: no C compiler has built it here")
    return SHIM if request.param == "shim" else ""


def installed(shim: str) -> list[str]:
    return sorted([*PLUGINS, PYTHON_FILE] if shim else PLUGINS)


@contextmanager
def working_in(directory: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(directory)
    yield
    os.chdir(before)


@pytest.mark.parametrize("name", ["bin", "a directory with spaces", "deep/er/still", 'quote\'d "$HOME"'])
def test_executables_run_wherever_they_are(tmp_path: Path, name: str, shim: str) -> None:
    paths = install(str(tmp_path / name), shim)

    assert sorted(os.path.basename(path) for path in paths) == sorted(PLUGINS)
    assert sorted(os.listdir(tmp_path / name)) == installed(shim)
    assert all(SUPPORTED in version(path) for path in paths)


def test_a_relative_directory_is_that_of_the_caller(tmp_path: Path, shim: str) -> None:
    with working_in(tmp_path):
        (path, *_) = install("bin", shim)

    assert os.path.isabs(path)
    assert SUPPORTED in version(path)


def test_installing_again_changes_nothing_but_the_files_themselves(tmp_path: Path, shim: str) -> None:
    first = {path: Path(path).read_bytes() for path in install(str(tmp_path), shim)}
    inodes = {path: os.stat(path).st_ino for path in first}

    again = install(str(tmp_path), shim)

    assert {path: Path(path).read_bytes() for path in again} == first
    assert all(
        os.stat(path).st_ino != inodes[path] for path in again
    )  # renamed into place, not written over
    assert sorted(os.listdir(tmp_path)) == installed(shim)
    assert {os.stat(path).st_mode & 0o777 for path in again} == {0o755}


def test_a_plugin_that_runs_meanwhile_is_not_disturbed(tmp_path: Path, shim: str) -> None:
    install(str(tmp_path), shim)
    environment = {"CNI_COMMAND": "VERSION"}
    running = subprocess.Popen([tmp_path / "veth"], env=environment, stdin=-1, stdout=-1, stderr=-1)

    install(str(tmp_path), shim)
    stdout, stderr = running.communicate(b'{"cniVersion": "0.4.0"}')

    assert (running.returncode, stderr) == (0, b"")
    assert SUPPORTED in stdout


def test_a_failure_leaves_the_old_executable_and_nothing_beside_it(tmp_path: Path, shim: str) -> None:
    (tmp_path / "veth").mkdir()

    with pytest.raises(OSError, match="veth"):
        install(str(tmp_path), shim)

    assert [path.name for path in tmp_path.iterdir() if ".new" in path.name] == []
    assert (tmp_path / "veth").is_dir()


def test_an_interpreter_whose_path_is_too_long_for_a_first_line_is_started_by_the_shell(
    tmp_path: Path,
) -> None:
    long = tmp_path.joinpath(*["d" * 50] * 5, "python it's")
    long.parent.mkdir(parents=True)
    long.symlink_to(sys.executable)
    assert len(str(long)) > SHEBANG_MAX

    plugin = tmp_path / "veth"
    plugin.write_text(launcher("veth", str(long), PACKAGE_DIR))
    plugin.chmod(0o755)

    assert plugin.read_text().startswith("#!/bin/sh\n")
    assert SUPPORTED in version(plugin)


def test_the_first_line_is_used_up_to_what_the_kernel_reads(tmp_path: Path) -> None:
    room = SHEBANG_MAX - len(f"#!{tmp_path}/") - len("/python -IS")
    parts = [part for part in ("d" * 100, "d" * (room - 101)) if part]
    python = tmp_path.joinpath(*parts, "python")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    plugin = tmp_path / "veth"
    plugin.write_text(launcher("veth", str(python), PACKAGE_DIR))
    plugin.chmod(0o755)

    assert len(plugin.read_text().partition("\n")[0]) == SHEBANG_MAX
    assert SUPPORTED in version(plugin)


def test_the_command_says_what_it_installed(tmp_path: Path) -> None:
    done = underlay("install", "--bin-dir", "some bin", "--names-dir", "names", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    files = [*([PYTHON_FILE] if is_built() else []), *PLUGINS]
    lines = [
        *(f"installed {tmp_path}/names/{kind}.d/underlay.conf" for kind in ("rt_protos", "rt_tables")),
        *(f"installed {tmp_path}/some bin/{name}" for name in files),
    ]
    assert done.stdout.splitlines() == (lines if is_built() else [WITHOUT_SHIM, *lines])
    assert SUPPORTED in version(tmp_path / "some bin" / "veth")


def test_the_command_says_why_it_could_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = underlay("install", "--bin-dir", "file/bin", "--names-dir", "names", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path}/file/bin/{PYTHON_FILE}: Not a directory\n"


def test_a_pod_is_made_by_an_executable_that_was_installed_anew_meanwhile(world: World) -> None:
    world.lan(LAN_A)
    runtime, network, pod = world.runtime(world.node()), world.network(), world.pod()

    runtime.add(network, pod)
    install(world.bin_dirs[0])
    runtime.check(network, pod)
    install(world.bin_dirs[0])
    runtime.delete(network, pod)

    assert "veth0" not in pod.netns.run("ip", "link")
