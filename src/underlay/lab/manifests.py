"""NetworkAttachmentDefinitions, a file each in a directory of the lab, as `kubectl apply` takes them.

A person may change them there and add others: a definition counts from the next pod on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from textwrap import indent

from underlay.lab.pod import Json

MANIFESTS = "networks"  # the directory, in the lab's own
TEXT = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: {name}
  namespace: default
spec:
  config: |
{config}
"""


def write(networks: Mapping[str, Json], directory: str) -> None:
    """Writes one for each, in the place of another of its name."""
    os.makedirs(directory, exist_ok=True)
    for name, config in networks.items():
        text = TEXT.format(name=name, config=indent(json.dumps(config, indent=2), "    "))
        with open(os.path.join(directory, f"{name}.yaml"), "w", encoding="utf-8") as file:
            file.write(text)
