"""What a person may say of a pod for the lab, and the text of the networks that it may ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from underlay.lab.errors import LabError
from underlay.lab.manifests import write
from underlay.lab.runs import annotations_of


def test_annotations_may_have_short_keys() -> None:
    words = ["networks=lan-a-router,blue@lan0", "default-network=lan-a-veth", "example.org/colour=a=b"]

    assert annotations_of(words) == {
        "k8s.v1.cni.cncf.io/networks": "lan-a-router,blue@lan0",
        "v1.multus-cni.io/default-network": "lan-a-veth",
        "example.org/colour": "a=b",
    }


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("networks", '--annotate "networks": KEY=VALUE is needed, such as networks=lan-a-router'),
        ("networks=", '--annotate "networks=": KEY=VALUE is needed, such as networks=lan-a-router'),
        (
            "colour=red",
            '--annotate "colour=red": colour is none of networks, default-network and whole keys'
            " (k8s.v1.cni.cncf.io/networks)",
        ),
    ],
)
def test_what_is_no_annotation_is_told_what_would_be(word: str, refusal: str) -> None:
    with pytest.raises(LabError) as told:
        annotations_of([word])

    assert str(told.value) == refusal


def test_a_definition_is_a_manifest_with_the_configuration_as_it_is(tmp_path: Path) -> None:
    network = {"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "macvlan", "master": "eth0"}]}

    write({"lan": network}, str(tmp_path))

    text = (tmp_path / "lan.yaml").read_text()
    head, _, config = text.partition("  config: |\n")
    assert head.splitlines() == [
        "apiVersion: k8s.cni.cncf.io/v1",
        "kind: NetworkAttachmentDefinition",
        "metadata:",
        "  name: lan",
        "  namespace: default",
        "spec:",
    ]
    assert json.loads(config) == network
    assert all(line.startswith("    ") for line in config.splitlines())
