"""The chart as helm renders it, and as helm installs it. Where helm is not, that is said."""

from __future__ import annotations

import pytest

from tests.chart.helm import HELM


@pytest.fixture(autouse=True)
def _helm() -> None:
    if not HELM.exists():
        pytest.skip("the chart: there is no helm here (scripts/setup gets it from npm, for x86-64)")
