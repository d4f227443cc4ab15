"""Ranges of addresses: which can be given, which can be asked for, and one drawn at random.

Pure, and in integers throughout: a /64 costs what a /30 does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import field

from underlay.objects import IP, Network
from underlay.values import dataclass

Below = Callable[[int], int]  # a number at random from 0 to the argument less 1


@dataclass(frozen=True, slots=True)
class Range:
    """The addresses of a subnet in order, without its first `exclude_first` and last `exclude_last`,
    and without those that are `reserved`.

    The network and the broadcast address of an IPv4 subnet, which count among the first and the last,
    are never given; /31 and /32 have none (RFC 3021). The first of an IPv6 subnet is its routers'
    anycast address (RFC 4291, 2.6.1) and never given either; on /127 and /128 there is none (RFC 6164).
    """

    subnet: Network
    exclude_first: int = 0
    exclude_last: int = 0
    reserved: tuple[IP, ...] = ()
    _start: int = field(init=False, repr=False, compare=False)
    _end: int = field(init=False, repr=False, compare=False)  # the number after the last

    def __post_init__(self) -> None:
        if self.exclude_first < 0 or self.exclude_last < 0:
            raise ValueError(f"{self}: a number of addresses is not negative")
        first, last = self._ends
        start = int(self.subnet.network_address) + max(first, self.exclude_first)
        end = int(self.subnet.broadcast_address) + 1 - max(last, self.exclude_last)
        object.__setattr__(self, "_start", start)
        object.__setattr__(self, "_end", end)

    def __str__(self) -> str:
        ends = (("exclude_first", self.exclude_first), ("exclude_last", self.exclude_last))
        excluded = ", ".join(f"{key} {number}" for key, number in ends if number)
        return f"{self.subnet} ({excluded})" if excluded else str(self.subnet)

    @property
    def size(self) -> int:
        """How many addresses can be given while none is taken."""
        return self.free(())

    def free(self, taken: Collection[int]) -> int:
        """How many can be given while those numbers are taken."""
        return self.width - len(self._gone(taken))

    @property
    def why_empty(self) -> str:
        """Why no address can ever be given; "" where one can."""
        if self.size:
            return ""
        left = "only reserved ones" if self._start < self._end else "nothing"
        excluded = f"exclude_first {self.exclude_first} and exclude_last {self.exclude_last}"
        never = ", whose network and broadcast address are never given" if self._ends == (1, 1) else ""
        never = ", whose first is the subnet-router anycast address" if self._ends == (1, 0) else never
        return (
            f"{excluded} leave {left} of the {self.subnet.num_addresses} addresses of {self.subnet}{never}"
        )

    def __contains__(self, ip: IP) -> bool:
        return (
            ip.version == self.subnet.version
            and self._start <= int(ip) < self._end
            and ip not in self.reserved
        )

    def draw(self, taken: Collection[int], below: Below) -> IP | None:
        """One of the free addresses, each as likely as any other; None where there is none.

        `taken` are addresses as numbers, of the range or not. The cost goes by how many those are.
        """
        gone = self._gone(taken)
        free = self._end - self._start - len(gone)
        if free <= 0:
            return None
        found = self._start + below(free)
        for number in gone:  # in order: each at or below the one found moves it up by one
            if number > found:
                break
            found += 1
        return type(self.subnet.network_address)(found)

    @property
    def width(self) -> int:
        """How many addresses lie between the excluded ends, reserved ones too."""
        return max(self._end - self._start, 0)

    def at(self, place: int) -> IP:
        """The address at a place between the excluded ends, counted from 0."""
        return type(self.subnet.network_address)(self._start + place)

    def refusal(self, ip: IP) -> str:
        """Why nobody can have that address, in words that follow it; "" where one may ask for it.

        What is excluded may be asked for: a gateway with a fixed address lies there.
        """
        if ip not in self.subnet:
            return f"is not in {self.subnet}"
        if ip == self.subnet.network_address and self._ends[0]:
            kind = "network" if ip.version == 4 else "subnet-router anycast"
            return f"is the {kind} address of {self.subnet}"
        if ip == self.subnet.broadcast_address and self._ends[1]:
            return f"is the broadcast address of {self.subnet}"
        return f"is reserved in {self.subnet}" if ip in self.reserved else ""

    @property
    def _ends(self) -> tuple[int, int]:
        """How many addresses at the two ends of the subnet are nobody's."""
        if self.subnet.max_prefixlen - self.subnet.prefixlen < 2:
            return 0, 0
        return (1, 1) if self.subnet.version == 4 else (1, 0)

    def _gone(self, taken: Collection[int]) -> Sequence[int]:
        """The numbers between the excluded ends that can't be given, in order."""
        start, end = self._start, self._end
        gone = {number for number in taken if start <= number < end}
        return sorted(
            gone | {int(ip) for ip in self.reserved if ip in self.subnet and start <= int(ip) < end}
        )
