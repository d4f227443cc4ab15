"""What our plugin did for a pod, read from its own records."""

from __future__ import annotations

import os

from underlay.lab.cluster import Cluster
from underlay.lab.pod import Pod
from underlay.netns import identity, open_netns
from underlay.records import Records


def changes(cluster: Cluster, pod: Pod) -> list[str]:
    """All that ADD made for the pod, as `ip` commands in the order in which they were made."""
    node = open_netns(cluster.node1.netns.path)
    try:
        records = Records(cluster.records, identity(node))
    finally:
        os.close(node)
    with records.pod(pod.container_id) as attachments:
        return [str(made) for record in attachments.all() for made in record.plan.objects]
