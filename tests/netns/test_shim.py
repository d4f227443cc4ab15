"""The shim at its wire: what it sends, what it makes of the answer, and what it does where there is none."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Event

import pytest

from tests.netns.crowd import at_once
from tests.netns.shims import Shim, build, installed, refusal
from tests.netns.wire import (
    NUMBER,
    PATIENCE,
    Answering,
    Handler,
    Request,
    read_request,
    reply,
    send_in_pieces,
    serving,
    until_it_goes,
)
from tests.netns.world import LAN_A, World

LIMIT = 8 << 20
TIMEOUT_MS = 500  # of the one that is in a hurry; the others have two minutes


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim") / "shim")


@pytest.fixture(scope="session")
def built_in_a_hurry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim") / "hasty", f"-DTIMEOUT_MS={TIMEOUT_MS}")


@pytest.fixture
def shim(built: Path, tmp_path: Path) -> Shim:
    """One that must not fall back: there is no Python for it."""
    return installed(built, tmp_path)


@pytest.fixture
def hasty(built_in_a_hurry: Path, tmp_path: Path) -> Shim:
    return installed(built_in_a_hurry, tmp_path)


def test_the_agent_gets_the_name_all_input_and_the_variables_of_cni(shim: Shim) -> None:
    agent = Answering()
    with serving(shim.socket, agent):
        shim.call(
            b'{"a": "\0\xff"}\n', CNI_ARGS="A=b;C=d=e", CNI_="", OTHER_CNI_X="no", CNIX="no", PATH="no"
        )

    (request,) = agent.requests
    assert (request.name, request.stdin) == (b"veth", b'{"a": "\0\xff"}\n')
    assert sorted(request.variables) == [b"CNI_=", b"CNI_ARGS=A=b;C=d=e", b"CNI_COMMAND=ADD"]


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("router", b"router"),
        ("/somewhere/else/vxlan", b"vxlan"),
        ("../x/./routetable", b"routetable"),
        ("a b", b"a b"),
        ("bin/", b""),
        ("", b""),
    ],
)
def test_its_name_is_the_last_part_of_what_it_was_called_by(shim: Shim, argv0: str, name: bytes) -> None:
    agent = Answering()
    with serving(shim.socket, agent):
        subprocess.run(
            [argv0], executable=shim.path, env=shim.environment({}), stdin=subprocess.DEVNULL, check=True
        )

    assert [request.name for request in agent.requests] == [name]


def test_the_agent_gets_the_namespaces_of_the_caller_and_of_the_pod(shim: Shim, world: World) -> None:
    world.lan(LAN_A)
    node, pod, agent = world.node().netns, world.pod().netns, Answering()
    with serving(shim.socket, agent), node.entered():
        shim.call(CNI_NETNS=pod.path)

    assert agent.requests[0].inodes == [os.stat(netns.path).st_ino for netns in (node, pod)]
    assert os.stat("/proc/self/ns/net").st_ino not in agent.requests[0].inodes


def test_the_path_of_the_socket_may_have_a_hundred_and_seven_bytes(shim: Shim, tmp_path: Path) -> None:
    longest = Shim(shim.path, tmp_path / ("s" * (106 - len(str(tmp_path)))))
    with serving(longest.socket, Answering(lambda _: reply(b"done"))):
        assert longest.call().stdout == b"done"


@pytest.mark.parametrize("netns", ["", "/nonexistent", "/dev/null/below"])
def test_a_pod_that_is_gone_sends_no_descriptor(shim: Shim, netns: str) -> None:
    agent = Answering()
    with serving(shim.socket, agent):
        shim.call(CNI_NETNS=netns)
        shim.call()

    assert [request.inodes for request in agent.requests] == [[os.stat("/proc/self/ns/net").st_ino]] * 2
    assert f"CNI_NETNS={netns}".encode() in agent.requests[0].variables


@pytest.mark.parametrize(
    ("make", "is_kind"),
    [(os.mkfifo, stat.S_ISFIFO), (Path.touch, stat.S_ISREG), (Path.mkdir, stat.S_ISDIR)],
    ids=["fifo", "file", "directory"],
)
def test_whatever_else_the_pod_is_the_agent_may_judge_it(
    shim: Shim, tmp_path: Path, make: Callable[[Path], None], is_kind: Callable[[int], bool]
) -> None:
    agent = Answering()
    make(tmp_path / "netns")
    with serving(shim.socket, agent):
        shim.call(CNI_NETNS=str(tmp_path / "netns"))

    _, pod = agent.requests[0].files
    assert is_kind(pod.st_mode)


def test_megabytes_go_to_an_agent_that_reads_slowly(shim: Shim) -> None:
    stdin = os.urandom(4 << 20)
    got: list[Request] = []

    def handler(connection: socket.socket) -> None:
        got.append(read_request(connection, step=5000))
        connection.sendall(reply(b"done"))

    with serving(shim.socket, handler):
        assert shim.call(stdin).stdout == b"done"

    assert got[0].stdin == stdin


def test_input_may_come_in_pieces_and_without_blocking(shim: Shim) -> None:
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    agent = Answering()
    with serving(shim.socket, agent), theirs, shim.start(stdin=theirs) as process:
        send_in_pieces(ours, b"in pieces", 1)
        ours.close()
        assert process.communicate()[0] == b""

    assert agent.requests[0].stdin == b"in pieces"


def filling(name: bytes = b"veth", variables: tuple[bytes, ...] = (b"CNI_COMMAND=ADD",)) -> int:
    """How much standard input makes a request as large as one may be."""
    return LIMIT - sum(NUMBER.size + len(field) for field in (name, b"", *variables))


def test_a_call_may_have_eight_mebibytes(shim: Shim) -> None:
    agent = Answering()
    with serving(shim.socket, agent):
        done = shim.call(bytes(filling()))

    assert (done.returncode, len(agent.requests[0].stdin)) == (0, filling())


@pytest.mark.parametrize("surplus", [1, 2, 40, LIMIT])
def test_a_larger_call_is_refused_whoever_would_answer_it(shim: Shim, surplus: int) -> None:
    agent = Answering()
    with serving(shim.socket, agent):
        assert "larger than 8 MiB" in refusal(shim.call(bytes(filling() + surplus)), 6)

    assert agent.requests == []


def test_input_that_cannot_be_read_is_said(shim: Shim) -> None:
    directory = os.open("/", os.O_RDONLY)
    try:
        process = shim.start(stdin=directory)
    finally:
        os.close(directory)
    stdout, stderr = process.communicate()

    done = subprocess.CompletedProcess([], process.returncode, stdout, stderr)
    assert "reading standard input: Is a directory" in refusal(done, 5)


@pytest.mark.parametrize("code", [0, 1, 255])
@pytest.mark.parametrize(
    ("stdout", "stderr"),
    [(b"", b""), (b'{"a": 1}\n', b""), (b"\0\xff\n\0", b"no\0newline"), (b"", b"x" * 60_000)],
)
def test_the_reply_is_printed_byte_by_byte(shim: Shim, stdout: bytes, stderr: bytes, code: int) -> None:
    with serving(shim.socket, Answering(lambda _: reply(stdout, stderr, code))):
        done = shim.call()

    assert (done.stdout, done.stderr, done.returncode) == (stdout, stderr, code)


def test_a_reply_may_come_in_pieces(shim: Shim) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        send_in_pieces(connection, reply(b"out", b"err", 3), 1)

    with serving(shim.socket, handler):
        done = shim.call()

    assert (done.stdout, done.stderr, done.returncode) == (b"out", b"err", 3)


def test_a_reply_may_be_larger_than_any_request(shim: Shim) -> None:
    stdout = os.urandom(1 << 20) * 20
    with serving(shim.socket, Answering(lambda _: reply(stdout, b"err"))):
        done = shim.call()

    assert (done.stdout == stdout, done.stderr, done.returncode) == (True, b"err", 0)


def test_a_reply_may_go_to_where_writing_does_not_wait(shim: Shim) -> None:
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    stdout = os.urandom(1 << 20)
    with serving(shim.socket, Answering(lambda _: reply(stdout))), ours:
        process = shim.start(stdout=theirs, stdin=subprocess.DEVNULL)
        theirs.close()
        with ours.makefile("rb") as printed:
            assert printed.read() == stdout
        assert process.communicate()[1] == b""


def test_an_agent_may_answer_before_it_has_read_all(shim: Shim) -> None:
    def handler(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(reply(b"too much", code=1))

    with serving(shim.socket, handler):
        done = shim.call(bytes(4 << 20))

    assert (done.stdout, done.returncode) == (b"too much", 1)


def test_it_does_not_wait_for_the_end_of_the_connection(shim: Shim) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(b"done"))
        until_it_goes(connection)

    with serving(shim.socket, handler):
        assert shim.call().stdout == b"done"


def test_being_stopped_and_continued_does_no_harm(shim: Shim) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        for number, state in ((signal.SIGSTOP, os.WSTOPPED), (signal.SIGCONT, os.WCONTINUED)):
            os.kill(process.pid, number)
            os.waitid(os.P_PID, process.pid, state)
        connection.sendall(reply(b"done"))

    with shim.start() as process, serving(shim.socket, handler):
        assert process.communicate(b"{}")[0] == b"done"


def test_a_runtime_that_has_gone_does_not_kill_it_by_a_signal(shim: Shim) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        reader.close()
        connection.sendall(reply(b"nobody reads it"))

    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as reader, serving(shim.socket, handler):
        process = shim.start(stdout=write_end)
        os.close(write_end)
        _, stderr = process.communicate(b"{}")

    assert (process.returncode, stderr) == (1, b"writing to standard output: Broken pipe\n")


def test_a_result_that_cannot_be_written_is_a_failure(shim: Shim) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with serving(shim.socket, Answering(lambda _: reply(b"out", b"and what the agent says"))):
        process = shim.start(stdout=full)
        os.close(full)
        _, stderr = process.communicate(b"{}")

    assert process.returncode == 1
    assert stderr == b"writing to standard output: No space left on device\nand what the agent says"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_descriptors_that_the_runtime_has_closed_are_not_taken_for_others(shim: Shim, closed: str) -> None:
    agent = Answering(lambda _: reply(b"out", b"err", 5))
    with serving(shim.socket, agent):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" {closed}', shim.path],
            input=b"in", env=shim.environment({}), capture_output=True, check=False,
        )  # fmt: skip

    assert agent.requests[0].stdin == (b"" if "0" in closed else b"in")
    assert done.stdout == (b"" if "1" in closed else b"out")
    assert (done.stderr, done.returncode) == (b"" if "2" in closed else b"err", 5)


def test_two_hundred_at_once_get_each_its_own_answer(shim: Shim) -> None:
    agent = Answering(lambda request: reply(request.stdin[::-1], request.variables[-1]))

    def call(number: int) -> None:
        done = shim.call(f"{number:099}".encode() * 1000)
        assert done.stdout == (f"{number:099}" * 1000)[::-1].encode()
        assert (done.returncode, done.stderr) == (0, b"CNI_COMMAND=ADD")

    with serving(shim.socket, agent, backlog=4):
        at_once([lambda number=number: call(number) for number in range(200)])  # type: ignore[misc]

    assert len(agent.requests) == 200


WHOLE = reply(b"out", b"er")
NUMBERS = "its exit code or the length of standard output"


def numbers(*numbers: int) -> bytes:
    return b"".join(map(NUMBER.pack, numbers))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        *(pytest.param(WHOLE[:size], "it broke off", id=f"{size} bytes") for size in (1, 3, 4, 5, 20)),
        pytest.param(numbers(0), "it is too short", id="empty"),
        pytest.param(numbers(11) + bytes(11), "it is too short", id="too short"),
        pytest.param(numbers(2**32 - 1), "it is too long", id="too long"),
        pytest.param(numbers((64 << 20) + 1), "it is too long", id="a byte too long"),
        pytest.param(numbers(64 << 20), "it broke off", id="as long as may be"),
        pytest.param(numbers(12, 256, 0, 0), NUMBERS, id="code"),
        pytest.param(numbers(12, 0, 1, 0), NUMBERS, id="stdout too long"),
        pytest.param(numbers(12, 0, 2**32 - 8, 0), NUMBERS, id="stdout wraps"),
        pytest.param(numbers(12, 0, 0, 1), "the length of standard error makes", id="stderr too long"),
        pytest.param(
            numbers(13, 0, 0, 0) + b"x", "the length of standard error makes", id="stderr too short"
        ),
    ],
)
def test_a_broken_reply_is_for_the_runtime_to_try_again(shim: Shim, broken: bytes, reason: str) -> None:
    with serving(shim.socket, Answering(lambda _: broken)):
        said = refusal(shim.call(), 11)

    assert said.startswith(f"the reply of the agent at {shim.socket} is broken: {reason}")
    assert said.endswith("; the work may be done, and to do it again is safe")


def reads_nothing(connection: socket.socket) -> None:
    until_it_goes(connection)


def answers_nothing(connection: socket.socket) -> None:
    read_request(connection)
    until_it_goes(connection)


def answers_half(connection: socket.socket) -> None:
    read_request(connection)
    with suppress(BrokenPipeError):  # where this thread had to wait for its turn, it may have gone
        connection.sendall(WHOLE[:-1])
    until_it_goes(connection)


@pytest.mark.parametrize(
    ("handler", "stdin"),
    [
        (reads_nothing, b"{}"),
        (reads_nothing, bytes(4 << 20)),
        (answers_nothing, b"{}"),
        (answers_half, b"{}"),
    ],
    ids=["reads nothing", "reads not all", "answers nothing", "answers half"],
)
def test_an_agent_that_takes_too_long_sees_it_go(hasty: Shim, handler: Handler, stdin: bytes) -> None:
    with serving(hasty.socket, handler):
        said = refusal(hasty.call(stdin), 11)

    assert said.startswith(
        f"the agent at {hasty.socket} has not answered within 0.5 s: the call is given up"
    )


def test_an_agent_that_accepts_nobody_takes_too_long(hasty: Shim) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener, ExitStack() as queue:
        listener.bind(str(hasty.socket))
        listener.listen(0)
        with suppress(BlockingIOError):  # the queue is full
            while True:
                first = queue.enter_context(socket.socket(socket.AF_UNIX))
                first.setblocking(False)
                first.connect(str(hasty.socket))
        said = refusal(hasty.call(b"{}"), 11)

    assert "has not answered within 0.5 s" in said


def test_it_lets_the_agent_go_even_where_the_runtime_does_not_read(hasty: Shim) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):  # the pipe is full
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)

    gone = Event()

    def handler(connection: socket.socket) -> None:
        until_it_goes(connection)
        gone.set()

    with open(reader, "rb") as printed, serving(hasty.socket, handler):
        process = hasty.start(stdout=writer, stdin=subprocess.DEVNULL)
        os.close(writer)
        assert gone.wait(PATIENCE)
        assert b'"code": 11' in printed.read()
        process.communicate()
