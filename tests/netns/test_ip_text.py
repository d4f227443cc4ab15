"""The text of a kernel object is a command: what is typed is that very object, and `del` removes it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from tests.netns.test_kernel import EVERY_KIND, PAIR, SETTINGS, ground_for
from tests.netns.world import World
from underlay.lab.namespace import Netns
from underlay.netlink.facts import NodeKernel
from underlay.netns import open_netns
from underlay.objects import HOST, POD, LinkUp, Ns, Object, Route, Sysctl, VethPair, links_of
from underlay.objects.route import ONLINK, Hop
from underlay.plan import apply

ODD_ROUTES: list[Object] = [
    Route(POD, ip_network("10.98.0.0/16"), "veth0", via=ip_address("fe80::9"), onlink=True),
    Route(POD, ip_network("10.99.0.0/16"), "veth0", via=ip_address("fe80::9")),
    Route(POD, ip_network("10.100.0.0/16"), "veth0", proto=4, metric=7),
    Route(POD, ip_network("10.101.0.0/16"), hops=(Hop("veth0"), Hop("lo", weight=7))),
    Route(POD, ip_network("10.102.0.0/16"), hops=(Hop("veth0", "10.6.0.1", ONLINK), Hop("lo"))),
    Route(POD, ip_network("fd00:98::/64"), "veth0", metric=50, mtu=1300, table=1007),
    Route(HOST, ip_network("10.6.0.9/32"), PAIR.host_dev, src=ip_address("127.0.0.1"), table=500),
    Route(HOST, ip_network("0.0.0.0/0"), PAIR.host_dev, table=4294967295),
]


class Shell:
    """Two namespaces, where commands are typed and read back is what they made."""

    def __init__(self, world: World) -> None:
        self.netns: dict[Ns, Netns] = {ns: world.netns(ns) for ns in (HOST, POD)}
        self.fds = [open_netns(netns.path) for netns in self.netns.values()]
        self.kernels: list[NodeKernel] = []

    @property
    def kernel(self) -> NodeKernel:
        """A new one each time: none remembers what was before a command."""
        host, pod = self.fds
        self.kernels.append(NodeKernel(host, pod))
        return self.kernels[-1]

    def type(self, text: str) -> None:
        where, _, command = text.partition(":")
        words = command.replace("netns POD", f"netns {self.netns[POD].name}").split()
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        self.netns[Ns(where)].run(*words)

    def close(self) -> None:
        for kernel in self.kernels:
            kernel.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def shell(world: World) -> Iterator[Shell]:
    shell = Shell(world)
    yield shell
    shell.close()


@pytest.mark.parametrize("obj", [*EVERY_KIND, *ODD_ROUTES], ids=str)
def test_what_is_typed_is_the_object(shell: Shell, obj: Object) -> None:
    apply(ground_for(obj), shell.kernel)
    if isinstance(obj, LinkUp):
        shell.kernel.remove([obj])  # one end of a pair is born up
    assert shell.kernel.found(obj) != obj

    shell.type(str(obj))

    assert shell.kernel.found(obj) == obj


@pytest.mark.parametrize(
    "obj",
    [
        obj
        for obj in [*EVERY_KIND, *ODD_ROUTES]
        if not links_of(obj) and not isinstance(obj, (LinkUp, *SETTINGS))
    ],
    ids=str,
)
def test_the_same_with_del_removes_what_the_codec_made(shell: Shell, obj: Object) -> None:
    apply([*ground_for(obj), obj], shell.kernel)
    assert shell.kernel.found(obj) == obj

    shell.type(re.sub(" (add|append) ", " del ", str(obj), count=1))

    assert shell.kernel.found(obj) is None


def test_a_device_with_a_dot_in_its_name_has_settings_too(shell: Shell) -> None:
    pair = VethPair("veth.7", "02:00:00:00:00:01", "eth0.7", "02:00:00:00:00:02", 1500)
    setting = Sysctl(POD, 4, "eth0.7", "rp_filter", 2)
    apply([pair], shell.kernel)

    shell.type(str(setting))

    assert shell.kernel.found(setting) == setting
