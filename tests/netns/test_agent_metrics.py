"""What Prometheus and a kubelet learn from an agent, over HTTP."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from urllib.error import HTTPError

import pytest

from tests.netns.agents import Agent, Served, asking_absent_gateway, request, served
from tests.netns.world import World
from underlay.lab.errors import PluginError

ADDRESS = "127.0.0.1:9977"
ADDED, DELETED = '{plugin="veth",verb="ADD"}', '{plugin="veth",verb="DEL"}'


@pytest.fixture
def there(world: World) -> Iterator[Served]:
    yield from served(world, "--metrics", ADDRESS)


def get(path: str) -> str:
    with urllib.request.urlopen(f"http://{ADDRESS}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def samples() -> dict[str, float]:
    lines = [line for line in get("/metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_calls_are_counted_by_plugin_verb_and_code(there: Served) -> None:
    nic = there.nic()
    for _ in range(2):
        nic.call("ADD")
    nic.call("DEL")
    with pytest.raises(PluginError):
        nic.call("ADD", service_hijack_subnet=["nonsense"])
    with pytest.raises(PluginError):
        nic.call("ADD", **asking_absent_gateway(nic, "1ms", 1))

    counted = {name: value for name, value in samples().items() if name.startswith("underlay_calls_total")}

    assert counted == {
        'underlay_calls_total{code="0",plugin="veth",verb="ADD"}': 2,
        'underlay_calls_total{code="0",plugin="veth",verb="DEL"}': 1,
        'underlay_calls_total{code="7",plugin="veth",verb="ADD"}': 1,
        'underlay_calls_total{code="102",plugin="veth",verb="ADD"}': 1,
    }
    assert samples()[f"underlay_call_seconds_count{ADDED}"] == 4
    assert samples()[f"underlay_call_seconds_count{DELETED}"] == 1
    assert samples()[f"underlay_call_seconds_sum{ADDED}"] > 0


def test_what_clients_invent_is_one_label(there: Served) -> None:
    for number in range(3):
        with closing(there.agent.client()) as client:
            env = {"CNI_COMMAND": f"INVENTED{number}"}
            client.call(request(f"invented{number}", b"{}", env), there.node.netns)
            assert client.reply()

    assert samples()['underlay_calls_total{code="7",plugin="other",verb="other"}'] == 3


def test_attachments_are_counted_and_those_that_gc_collects(there: Served) -> None:
    nics = [there.nic(f"pod{number}") for number in range(3)]
    for nic in nics:
        nic.call("ADD")
    assert attachments() == 3

    config = {**nics[0].config(cniVersion="1.1.0"), "cni.dev/valid-attachments": []}
    there.runtime.call("veth", "GC", config, {"CNI_PATH": nics[0].variables["CNI_PATH"]})

    assert attachments() == 0
    assert samples()['underlay_collected_total{plugin="veth"}'] == 3


def attachments() -> float:
    return samples()['underlay_attachments{plugin="veth"}']


def test_the_time_of_its_start_tells_of_a_restart(there: Served) -> None:
    before = samples()["process_start_time_seconds"]
    there.agent.kill()

    there.agent.start("--metrics", ADDRESS)

    assert samples()["process_start_time_seconds"] > before


def test_it_is_healthy_while_it_answers_and_ready_while_clients_find_it(there: Served) -> None:
    assert (get("/healthz"), get("/readyz")) == ("ok\n", "ok\n")

    os.unlink(there.agent.socket)

    assert get("/healthz") == "ok\n"
    with pytest.raises(HTTPError) as refused:
        get("/readyz")
    with refused.value as answer:
        assert answer.code == 503
        assert answer.read().decode() == f"{there.agent.socket} is not the agent's socket any more\n"


@pytest.mark.usefixtures("there")
def test_nothing_else_is_there() -> None:
    with pytest.raises(HTTPError) as refused:
        get("/")
    with refused.value as answer:
        assert answer.code == 404


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:9977", "is not ADDRESS:PORT with a loopback address"),
        ("10.6.0.11:9977", "is not ADDRESS:PORT with a loopback address"),
        ("localhost:9977", "is not ADDRESS:PORT with a loopback address"),
        ("9977", "is not ADDRESS:PORT with a loopback address"),
        ("127.0.0.1:65536", "is not ADDRESS:PORT with a loopback address"),
        (ADDRESS, "Address already in use"),
    ],
)
def test_another_address_is_refused_in_words(there: Served, address: str, said: str) -> None:
    with closing(Agent(there.world.state)) as other:
        other.start("--metrics", address)

        assert other.process.wait() == 1
        assert f"--metrics {address}" in other.said
        assert said in other.said
        assert not os.path.exists(other.socket)


def test_it_may_be_an_ipv6_address(there: Served) -> None:
    there.agent.end()
    there.agent.start("--metrics", "[::1]:9977")

    with urllib.request.urlopen("http://[::1]:9977/readyz", timeout=10) as answer:
        assert answer.status == 200


def test_others_are_told_the_metrics_alone_where_somebody_wants_that(there: Served) -> None:
    there.agent.end()
    there.agent.start("--metrics", ADDRESS, "--metrics-on", "127.0.0.2:9978")

    with urllib.request.urlopen("http://127.0.0.2:9978/metrics", timeout=10) as answer:
        assert b"underlay_attachments" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen("http://127.0.0.2:9978/readyz", timeout=10)


@pytest.mark.parametrize("address", ["localhost:9977", "9977", "192.168.10.11"])
def test_what_is_no_address_for_others_is_refused_in_words(there: Served, address: str) -> None:
    with closing(Agent(there.world.state)) as other:
        other.start("--metrics-on", address)

        assert other.process.wait() == 1
        assert f"--metrics-on {address} is not ADDRESS:PORT, such as 192.168.10.11:9977" in other.said
