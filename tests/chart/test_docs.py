"""docs/install.md says what the chart has: every value with its default, every privilege with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from tests.chart.helm import Json, container, default_values, definitions, pod_spec, rendered
from tests.chart.values import FAMILIES
from tests.repo.tree import ROOT

PAGE = (ROOT / "docs/install.md").read_text(encoding="utf-8")


def leaves(values: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """Each value that is none of values, with its default as JSON."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", json.dumps(value)


def test_every_value_is_in_the_table_with_its_default() -> None:
    _, _, table = PAGE.partition("\n### Values\n")
    table, _, _ = table.partition("\n## ")

    assert re.findall(r"(?m)^\| `([^`]+)` \| `([^`]*)` \|", table) == list(leaves(default_values()))


def test_every_capability_and_directory_of_the_agent_has_its_reason() -> None:
    agent = container("agent", pod_spec(rendered({})))
    needed = agent["securityContext"]["capabilities"]["add"]
    seen = [mount["mountPath"] for mount in agent["volumeMounts"]]

    _, _, section = PAGE.partition("\n### What it may do, and why\n")
    section, _, _ = section.partition("\n### ")
    assert [name for name in (*needed, *seen) if f"`{name}`" not in section] == []


def test_the_values_of_the_first_pod_are_taken() -> None:
    (text,) = re.findall(r"\$ cat lan\.yaml\n(.*?)\n\n", PAGE, re.DOTALL)

    found = definitions(rendered({"cluster_subnet": FAMILIES["v4"], **yaml.safe_load(text)}))

    assert list(found) == re.findall(r"(?m)^  (macvlan-\S+)  \(macvlan-\S+\)$", PAGE)


def test_a_further_network_is_taken() -> None:
    (text,) = re.findall(r"```yaml\n(networks:.*?)```", PAGE, re.DOTALL)

    found = definitions(rendered({"cluster_subnet": FAMILIES["v4"], **yaml.safe_load(text)}))

    assert found["storage"]["plugins"][0]["master"] == "bond1.100"


def test_no_value_is_named_that_there_is_not() -> None:
    known = {path for path, _ in leaves(default_values())}
    known |= {path.rpartition(".")[0] for path in known} | set(default_values())
    named = re.findall(r"--set ([\w.]+)=", PAGE) + re.findall(r"`(\w+(?:\.\w+)+)=", PAGE)

    assert [name for name in named if name not in known and name != "cni.exclusive"] == []  # Cilium's
