"""Who on this node has claimed which address: what the routing table can't say of a claim's route.

`<state>/<host id>/routetable:claims/<address>` is a symbolic link whose target is the text
`<dev> <owner>`. symlink(2) makes an entry together with what it says, or refuses because there is one:
two calls can't both have an address, no crash leaves an entry without an owner or half of a file, and
nothing has to be locked, written or renamed for it. `ls -l` shows it all. The directory exists only
while something is in it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import NamedTuple

from underlay.cni.errors import IoFailure
from underlay.locks import shared
from underlay.objects import HOST, IP, Route
from underlay.objects.wire import REMEMBERED, address, family_of, network

CLAIM = 202  # the routing protocol number of a claim: what bird and others are told to announce
DIRECTORY = "routetable:claims"  # beside the containers' directories; no container id has a colon


class Claimed(NamedTuple):
    """By which link of the node an address is claimed, and for whom."""

    dev: str
    owner: str


@lru_cache(REMEMBERED)
def claim_route(ip: IP, dev: str) -> Route:
    """The route that is the claim: the address alone, by the network's link, in the main table."""
    return Route(HOST, network(ip.packed, ip.max_prefixlen), dev, proto=CLAIM)


class Claims:
    """The entries of one node. `root` is the state's directory, above which nothing is removed.

    Calls for one owner do not overlap: its records are locked meanwhile. What fails raises IoFailure
    with the path and the reason.
    """

    def __init__(self, directory: str, root: str) -> None:
        self._directory = directory
        self._root = root

    def reserve(self, ip: IP, dev: str, owner: str) -> bool:
        """Makes the entry; False where the address is somebody else's. Theirs already is True."""
        wanted = Claimed(dev, owner)
        with self.sharing():
            return self.enter(ip, wanted) in (None, wanted)

    def enter(self, ip: IP, wanted: Claimed) -> Claimed | None:
        """Makes an entry while `sharing` is held. Returns the one that is there already, None for none."""
        path = self._path(ip)
        while True:
            try:
                os.symlink(" ".join(wanted), path)
                return None
            except FileExistsError:
                found = self.holder(ip)
                if found:
                    return found
                # else it was released at this very moment
            except FileNotFoundError:  # the call that released the last entry has taken the directory away
                with self.sharing():
                    return self.enter(ip, wanted)
            except OSError as error:
                raise _failure("making", path, error) from error

    def holder(self, ip: IP) -> Claimed | None:
        """Whose the address is on this node; None where it is nobody's."""
        path = self._path(ip)
        try:
            dev, _, owner = os.readlink(path).partition(" ")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failure("reading", path, error) from error
        return Claimed(dev, owner)

    def drop(self, ip: IP) -> None:
        """Removes an entry while `sharing` is held."""
        path = self._path(ip)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # it is gone already
        except OSError as error:
            raise _failure("removing", path, error) from error

    def numbers(self, version: int) -> set[int]:
        """The claimed addresses of an IP version, as numbers: no entry is read, so thousands are cheap."""
        return {int.from_bytes(packed, "big") for packed in self._packed(version)}

    def all(self) -> dict[IP, Claimed]:
        """Every claim of the node. Reads each entry."""
        addresses = (address(packed) for version in (4, 6) for packed in self._packed(version))
        return {ip: found for ip in addresses if (found := self.holder(ip))}

    def _packed(self, version: int) -> Iterator[bytes]:
        family = family_of(version)
        for name in self._names():
            try:
                yield socket.inet_pton(family, name)
            except OSError:
                continue  # of the other version, or no entry of ours

    def sharing(self) -> AbstractContextManager[None]:
        """For whoever changes an entry and its route together; any number at once."""
        return shared(self._directory, self._root)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody is changing an entry and its route, and if so, nobody begins to. Never waits."""
        try:
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            fd = -1  # there is nothing to be alone with
        try:
            yield fd >= 0 and self._locks(fd)
        finally:
            if fd >= 0:
                os.close(fd)

    def _locks(self, fd: int) -> bool:
        """Whether nobody else holds the directory, and it is still the one that everybody opens."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.stat(self._directory), os.fstat(fd))
        except OSError:
            return False

    def _path(self, ip: IP) -> str:
        return f"{self._directory}/{ip}"

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failure("reading", self._directory, error) from error


def _failure(what: str, path: str, error: OSError) -> IoFailure:
    return IoFailure(f"{what} the claim {path}: {error.strerror}")
