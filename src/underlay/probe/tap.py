"""A socket on one NIC of a pod that hears ARP and neighbour discovery, and nothing else.

A packet socket, because the kernel's own neighbour code asks in its own time and for itself alone; and
because it hears what is claimed of an address whether or not the pod has it, or has it tentatively.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address

from underlay.cni.errors import KernelError
from underlay.netns import entered
from underlay.objects.wire import IP, mac_bytes, mac_text
from underlay.probe.frames import (
    ADVERTISEMENT,
    ALL_NODES,
    ARP_TYPE,
    ICMPV6,
    IPV6_TYPE,
    SOLICITATION,
    Frame,
    decode,
    encode,
    group_mac,
    solicited_node,
)
from underlay.values import dataclass

ETH_P_ALL = 3
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST = 263, 1, 0  # packet(7)
SIOCGIFHWADDR = 0x8927  # netdevice(7)
BACKLOG = 1 << 20  # bytes: some 2000 frames wait while this thread does not run, not 270
LONGEST = 2048  # bytes; ARP and neighbour discovery have 86 at most, but for options that nobody sends

# Classic BPF (linux/filter.h): code, jump if true, jump if false, value. Jumps count from the next line.
WORD, HALF, BYTE, EQUAL, ANY_BIT, RETURN = 0x20, 0x28, 0x30, 0x15, 0x45, 0x06
PACKET_TYPE, VLAN_TAG = 0xFFFFF000 + 4, 0xFFFFF000 + 44  # SKF_AD_OFF + SKF_AD_PKTTYPE, SKF_AD_VLAN_TAG
FILTER = (
    (WORD, 0, 0, PACKET_TYPE),
    (EQUAL, 11, 0, socket.PACKET_OUTGOING),  # what this NIC sends itself
    (WORD, 0, 0, VLAN_TAG),
    (ANY_BIT, 9, 0, 0xFFF),  # another VLAN of a trunk: the tag is off by now, and its addresses are its own
    (HALF, 0, 0, 12),
    (EQUAL, 6, 0, ARP_TYPE),
    (EQUAL, 0, 6, IPV6_TYPE),
    (BYTE, 0, 0, 14 + 6),
    (EQUAL, 0, 4, ICMPV6),
    (BYTE, 0, 0, 14 + 40),
    (EQUAL, 1, 0, SOLICITATION),
    (EQUAL, 0, 1, ADVERTISEMENT),
    (RETURN, 0, 0, 0xFFFFFFFF),
    (RETURN, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Wire:
    """The NIC that is asked from: link `index` in the namespace of the descriptor `netns`, with its MAC.

    `close` takes a packet socket off. The kernel needs some 12 ms for that, and until then the socket
    pins the namespace: who has a reply to send first gives a function that closes it afterwards.
    """

    netns: int
    index: int
    mac: str
    close: Callable[[socket.socket], None] = socket.socket.close


@dataclass(frozen=True, slots=True)
class Speaker:
    """A NIC that is spoken by and not listened to: the link `dev` in the namespace of the descriptor
    `netns`. `close` is that of `Wire`."""

    netns: int
    dev: str
    close: Callable[[socket.socket], None] = socket.socket.close

    def say(self, frames: Iterable[Frame]) -> None:
        """Sends frames; KernelError where the kernel refuses."""
        try:
            with entered(self.netns):
                packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # of no protocol: deaf
            try:
                for frame in frames:
                    packets.sendto(encode(frame), (self.dev, 0))
            finally:
                self.close(packets)
        except OSError as error:
            raise _refused(self.dev, error) from error


class Tap:
    """An open packet socket. `own` are the MACs of all NICs of the namespace: none of them is another's."""

    def __init__(self, packets: socket.socket, own: frozenset[str]) -> None:
        self._socket = packets
        self.own = own

    def ask(self, questions: Mapping[IP, Frame], interval: float, retries: int) -> Iterator[Frame]:
        """Sends all questions `retries` times, `interval` seconds apart; yields what is heard meanwhile.

        The last round lasts as long as the others. A question that is taken out is not asked again.
        """
        start = time.monotonic()
        for number in range(1, retries + 1):
            self.send(questions.values())
            yield from self._heard(start + number * interval)

    def send(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self._socket.send(encode(frame))

    def _heard(self, until: float) -> Iterator[Frame]:
        """The frames that come in until that time, however many; a signal does not prolong it (PEP 475)."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            if poll.poll(left * 1000) and (frame := decode(self._socket.recv(LONGEST))):
                yield frame


@contextmanager
def tapped(wire: Wire, addresses: Iterable[IP]) -> Iterator[Tap]:
    """A tap that hears what is said to and of these addresses; KernelError where the kernel refuses."""
    try:
        with entered(wire.netns):
            name = socket.if_indextoname(wire.index)
            links = socket.if_nameindex()
            packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # hears nothing until it is bound
        try:
            _attach_filter(packets)
            packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BACKLOG)
            packets.bind((name, ETH_P_ALL))
            _join(packets, wire.index, addresses)
            yield Tap(packets, _macs(packets, links))
        finally:
            wire.close(packets)
    except OSError as error:
        raise _refused(str(wire.index), error) from error


def _refused(link: str, error: OSError) -> KernelError:
    return KernelError(
        f"ARP and neighbour discovery by the pod's link {link}: {error.strerror or error}",
        "`ip link` in the pod's namespace shows whether the NIC is there and up",
    )


def _attach_filter(packets: socket.socket) -> None:
    program = array.array("B", b"".join(struct.pack("=HBBI", *line) for line in FILTER))
    address, _ = program.buffer_info()
    packets.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(FILTER), address))


def _join(packets: socket.socket, index: int, addresses: Iterable[IP]) -> None:
    """Lets the NIC hear the groups to which answers go, whether or not the pod's IPv6 is on."""
    asked = [address for address in addresses if isinstance(address, IPv6Address)]
    for group in {solicited_node(address) for address in asked} | ({ALL_NODES} if asked else set()):
        request = struct.pack("@iHH8s", index, PACKET_MR_MULTICAST, 6, mac_bytes(group_mac(group)))
        packets.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)


def _macs(control: socket.socket, links: Iterable[tuple[int, str]]) -> frozenset[str]:
    macs = set()
    for _, name in links:
        with suppress(OSError):  # it went meanwhile
            reply = fcntl.ioctl(control, SIOCGIFHWADDR, struct.pack("40s", name.encode()))
            macs.add(mac_text(reply[18:24]))
    return frozenset(macs)
