"""A node of the cluster with containerd on it: started, rebooted, and its pods."""

from __future__ import annotations

import os
from dataclasses import dataclass

from underlay.lab.agent import Agent
from underlay.lab.cluster import Cluster
from underlay.lab.containerd import python
from underlay.lab.containerd.daemon import Containerd
from underlay.lab.containerd.pods import Pods
from underlay.lab.containerd.space import Space
from underlay.lab.pod import Json
from underlay.lab.process import Process
from underlay.lab.topology import Node


@dataclass(frozen=True)
class ContainerdNode:
    """All of it is found again from the cluster. An agent of the node's own answers, where it is started."""

    cluster: Cluster
    node: Node

    def start(self, network: Json) -> None:
        """Starts containerd, whose pods have this network."""
        self.containerd.set_network(network)
        self.containerd.start()

    def start_agent(self) -> None:
        """Has an agent answer that lives on the node, where paths mean what they mean to its runtime."""
        if not self.space.is_open:
            self.space.open()
        self.agent.start(self.space.entering())

    @property
    def space(self) -> Space:
        return Space(self.node.netns, self.cluster.lab.state_dir, self.directory)

    @property
    def containerd(self) -> Containerd:
        return Containerd(self.space, self.cluster.path("bin"))

    @property
    def pods(self) -> Pods:
        return Pods(self.containerd, self.cluster.lab.prefix, python.mounts())

    @property
    def agent(self) -> Agent:
        process = Process(f"{self.directory}/agent.process", f"{self.directory}/agent.log")
        return Agent(process, os.path.join(self.records, "agent.sock"))

    @property
    def records(self) -> str:
        """/run/underlay of the node, where its plugins and its agent look unless they are told otherwise."""
        return os.path.join(self.space.run_directory, "underlay")

    @property
    def directory(self) -> str:
        return self.cluster.path(self.node.netns.name)
