"""Modules say what they are, stay short, and where a pod waits for them import next to nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.repo.tree import PACKAGE, at, modules, parsed, product

LONGEST_FILE = 400  # lines; style asks for 250
LONGEST_FUNCTION = 60  # lines; style asks for 25
# All else runs while a pod waits for its network, `kube` only where a configuration asks for it.
OFF_THE_HOT_PATH = {"__main__", "cli", "install", "kube", "lab"}
# Where somebody asks for metrics, or writes a manifest as YAML.
SWITCHED_ON = {"agent/metrics.py", "networks/manifests.py"}
