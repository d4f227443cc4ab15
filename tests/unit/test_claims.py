"""Claims: an address has one owner however many ask for it, and nothing remains after the last."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from underlay.claims import CLAIM, DIRECTORY, Claimed, Claims, claim_route
from underlay.cni.errors import IoFailure
from underlay.objects import HOST, IP, MAIN

A4, B4, A6 = ip_address("10.66.0.9"), ip_address("10.66.0.10"), ip_address("fd00:66::9")
POD = "c1/lan:eth0:vxlan.json"
OTHER = "c2/lan:eth0:vxlan.json"


def release(claims: Claims, ip: IP, owner: str) -> bool:
    """As `cni.claim.release` does it, without the route: whether the entry was that owner's."""
    with claims.sharing():
        found = claims.holder(ip)
        if not found or found.owner != owner:
            return False
        claims.drop(ip)
        return True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Made by the claims themselves, as the state's directory is."""
    return tmp_path / "state"


@pytest.fixture
def claims(root: Path) -> Claims:
    return Claims(str(root / "1" / DIRECTORY), str(root))


@pytest.mark.parametrize(
    ("ip", "text"),
    [
        (A4, "host: ip route add 10.66.0.9/32 dev mv_blue scope link proto 202"),
        (A6, "host: ip -6 route add fd00:66::9/128 dev mv_blue proto 202"),
    ],
)
def test_a_claim_is_a_route_to_the_address_alone_in_the_main_table(ip: IP, text: str) -> None:
    route = claim_route(ip, "mv_blue")

    assert str(route) == text
    assert (route.ns, route.table, route.proto) == (HOST, MAIN, CLAIM)


def test_an_address_that_is_reserved_is_nobody_elses(claims: Claims) -> None:
    assert claims.reserve(A4, "mv_blue", POD)
    assert not claims.reserve(A4, "mv_blue", OTHER)

    assert claims.holder(A4) == Claimed("mv_blue", POD)


def test_to_reserve_ones_own_address_again_is_fine(claims: Claims) -> None:
    assert claims.reserve(A6, "mv_blue", POD)
    assert claims.reserve(A6, "mv_blue", POD)


def test_an_owner_has_an_address_by_one_link_only(claims: Claims) -> None:
    assert claims.reserve(A4, "mv_blue", POD)
    assert not claims.reserve(A4, "mv_red", POD)

    assert claims.holder(A4) == Claimed("mv_blue", POD)


def test_only_the_owner_gives_an_address_back(claims: Claims) -> None:
    claims.reserve(A4, "mv_blue", POD)

    assert not release(claims, A4, OTHER)
    assert release(claims, A4, POD)
    assert not release(claims, A4, POD)
    assert claims.holder(A4) is None
    assert claims.reserve(A4, "mv_blue", OTHER)


def test_all_claims_are_listed_by_address(claims: Claims) -> None:
    claims.reserve(A4, "mv_blue", POD)
    claims.reserve(B4, "mv_red", OTHER)
    claims.reserve(A6, "mv_blue", POD)

    assert claims.all() == {
        A4: Claimed("mv_blue", POD),
        B4: Claimed("mv_red", OTHER),
        A6: Claimed("mv_blue", POD),
    }
    assert claims.numbers(4) == {int(A4), int(B4)}
    assert claims.numbers(6) == {int(A6)}


def test_where_nothing_is_claimed_nothing_is_listed_and_nothing_is_made(claims: Claims, root: Path) -> None:
    assert claims.all() == {}
    assert claims.numbers(4) == claims.numbers(6) == set()
    assert claims.holder(A4) is None
    assert not release(claims, A4, POD)
    with claims.alone() as is_alone:
        assert not is_alone
    assert not root.exists()


def test_somebody_elses_file_is_no_claim(claims: Claims, root: Path) -> None:
    claims.reserve(A4, "mv_blue", POD)
    (root / "1" / DIRECTORY / "README").write_text("hands off")

    assert list(claims.all()) == [A4]
    assert claims.numbers(4) | claims.numbers(6) == {int(A4)}


def test_the_directory_is_there_only_while_something_is_in_it(claims: Claims, root: Path) -> None:
    claims.reserve(A4, "mv_blue", POD)
    claims.reserve(A6, "mv_blue", POD)
    release(claims, A4, POD)
    assert os.listdir(root / "1" / DIRECTORY) == [str(A6)]

    release(claims, A6, POD)
    assert not root.exists()
    assert root.parent.exists()


def test_the_directory_is_for_root_alone(claims: Claims, root: Path) -> None:
    claims.reserve(A4, "mv_blue", POD)

    modes = [path.stat().st_mode & 0o777 for path in (root, root / "1", root / "1" / DIRECTORY)]
    assert modes == [0o700] * 3


def test_a_directory_that_can_not_be_made_is_named(claims: Claims, root: Path) -> None:
    root.write_text("a file, where a directory has to be")

    with pytest.raises(IoFailure, match=r"the state directory .*: Not a directory"):
        claims.reserve(A4, "mv_blue", POD)


def test_an_entry_that_can_not_be_made_is_named_with_the_reason(claims: Claims, root: Path) -> None:
    with pytest.raises(IoFailure, match=rf"making the claim .*{A4}: File name too long"):
        claims.reserve(A4, "mv_blue", "c" * 5000)

    assert not root.exists()


def test_an_entry_that_can_not_be_read_is_named_with_the_reason(claims: Claims, root: Path) -> None:
    claims.reserve(B4, "mv_blue", POD)
    (root / "1" / DIRECTORY / str(A4)).write_text("no symbolic link")

    with pytest.raises(IoFailure, match=rf"reading the claim .*{A4}: Invalid argument"):
        claims.holder(A4)


def test_one_is_alone_only_while_nobody_changes_anything(claims: Claims) -> None:
    claims.reserve(A4, "mv_blue", POD)
    with claims.sharing(), claims.sharing(), claims.alone() as is_alone:
        assert not is_alone
    with claims.alone() as is_alone:
        assert is_alone
        with claims.alone() as is_second_alone:
            assert not is_second_alone


def test_who_enters_a_claim_is_told_whose_it_is_already(claims: Claims, root: Path) -> None:
    mine, theirs = Claimed("mv_blue", POD), Claimed("mv_blue", OTHER)
    with claims.sharing():
        assert claims.enter(A4, mine) is None
        assert claims.enter(A4, mine) == mine
        assert claims.enter(A4, theirs) == mine
        claims.drop(A4)
        claims.drop(A4)
    assert not root.exists()


def test_an_entry_is_made_although_its_directory_goes_in_the_moment_before(
    claims: Claims, root: Path
) -> None:
    directory = root / "1" / DIRECTORY

    class Emptied(Claims):
        """In which the release of the last entry comes between."""

        is_first = True

        @contextmanager
        def sharing(self) -> Iterator[None]:
            with super().sharing():
                if self.is_first:
                    directory.rmdir()
                self.is_first = False
                yield

    assert Emptied(str(directory), str(root)).reserve(A4, "mv_blue", POD)
    assert claims.all() == {A4: Claimed("mv_blue", POD)}


def test_an_address_that_many_want_at_once_goes_to_one(claims: Claims) -> None:
    got: list[int] = []
    at_once = threading.Barrier(16)

    def call(number: int) -> None:
        at_once.wait()
        if claims.reserve(A4, "mv_blue", f"c{number}"):
            got.append(number)

    run(call, 16)

    assert len(got) == 1
    assert claims.holder(A4) == Claimed("mv_blue", f"c{got[0]}")


def test_calls_that_make_and_remove_the_directory_all_the_time_lose_no_claim(
    claims: Claims, root: Path
) -> None:
    """Each works on an address of its own, so the directory is empty again and again."""
    wrong: Counter[str] = Counter()
    at_once = threading.Barrier(8)

    def call(number: int) -> None:
        ip, owner = A6 + number, f"c{number}"
        at_once.wait()
        for _ in range(50):
            wrong["not reserved"] += not claims.reserve(ip, "mv_blue", owner)
            wrong["not there"] += claims.holder(ip) != Claimed("mv_blue", owner)
            wrong["not released"] += not release(claims, ip, owner)

    run(call, 8)

    assert not +wrong
    assert not root.exists()


def run(call: Callable[[int], None], number: int) -> None:
    """Runs `call` in so many threads."""
    threads = [threading.Thread(target=call, args=(each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
