"""The image of packaging/Dockerfile under containerd. Where it can't be made or run, that is said."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.helm import HELM
from tests.e2e.site import why_not
from tests.image.site import Site, image, layers
from underlay.lab.cluster import Cluster
from underlay.lab.containerd.image import ARCHITECTURES
from underlay.lab.lab import Lab
from underlay.lab.traces import Traces

PREFIX, STATE_DIR = "ilab-", "/run/ilab"


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = ARCHITECTURES[platform.machine()]
    if not all(layer.exists() for layer in layers(architecture)):
        pytest.skip("the image: it is not built (scripts/image)")
    path = tmp_path_factory.mktemp("image") / "image.tar"
    image(architecture).write(path)
    return path


@pytest.fixture(scope="package")
def node(archive: Path) -> Iterator[Site]:
    """A node that has the image, and nothing of ours on it."""
    if reason := why_not():
        pytest.skip(f"containerd: {reason}")
    if not HELM.exists():
        pytest.skip("the chart: there is no helm here")
    with Lab(PREFIX, STATE_DIR) as lab:
        lab.reserve()
        cluster = Cluster(lab)
        cluster.build()
        site = Site(cluster)
        site.prepare(archive)
        yield site


@pytest.fixture
def site(node: Site) -> Iterator[Site]:
    """The same, for one test: afterwards no pod is there, and the node is as before."""
    before = Traces(node.cluster)
    yield node
    node.clear()
    assert before.left() == []


@pytest.fixture(scope="module")
def wired(node: Site) -> Iterator[Site]:
    """The same, where the DaemonSet runs and pod1 is wired by it: for tests that look on."""
    before = Traces(node.cluster)
    node.start()
    node.node.pods.run("pod1")
    yield node
    node.clear()
    assert before.left() == []
