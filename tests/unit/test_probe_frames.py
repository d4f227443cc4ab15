"""ARP and neighbour discovery as bytes: what we send to the letter, and what Linux was recorded to send."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.probe.frames import (
    ALL_NODES,
    BROADCAST,
    NOBODY4,
    NOBODY6,
    OVERRIDE,
    REPLY,
    REQUEST,
    Advertisement,
    Arp,
    Frame,
    Solicitation,
    announcement,
    decode,
    encode,
    group_mac,
    question,
    solicited_node,
)

POD, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
A4, GW4 = IPv4Address("10.6.0.2"), IPv4Address("10.6.0.1")
A6, GW6 = IPv6Address("fd00:6::2"), IPv6Address("fd00:6::1")
GROUP, GROUP_MAC = IPv6Address("ff02::1:ff00:1"), "33:33:ff:00:00:01"
SOLICITED = 0x40000000

SENT = [
    (
        "an ARP probe says nothing of who asks",
        question(POD, GW4),
        Frame(POD, BROADCAST, Arp(REQUEST, POD, NOBODY4, GW4)),
        """ffffffffffff 02000000000a 0806
           0001 0800 06 04 0001 02000000000a 00000000 000000000000 0a060001""",
    ),
    (
        "an ARP request is asked from the pod's address",
        question(POD, GW4, A4),
        Frame(POD, BROADCAST, Arp(REQUEST, POD, A4, GW4)),
        """ffffffffffff 02000000000a 0806
           0001 0800 06 04 0001 02000000000a 0a060002 000000000000 0a060001""",
    ),
    (
        "an ARP announcement is a request for the address by its owner",
        announcement(POD, A4),
        Frame(POD, BROADCAST, Arp(REQUEST, POD, A4, A4)),
        """ffffffffffff 02000000000a 0806
           0001 0800 06 04 0001 02000000000a 0a060002 000000000000 0a060002""",
    ),
    (
        "an NS from nobody has no option",
        question(POD, GW6),
        Frame(POD, GROUP_MAC, Solicitation(NOBODY6, GROUP, GW6)),
        """3333ff000001 02000000000a 86dd
           60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff000001
           87 00 7d9f 00000000 fd000006000000000000000000000001""",
    ),
    (
        "an NS from the pod's address names its MAC",
        question(POD, GW6, A6),
        Frame(POD, GROUP_MAC, Solicitation(A6, GROUP, GW6, POD)),
        """3333ff000001 02000000000a 86dd
           60000000 0020 3a ff fd000006000000000000000000000002 ff0200000000000000000001ff000001
           87 00 7d83 00000000 fd000006000000000000000000000001 01 01 02000000000a""",
    ),
    (
        "an unsolicited NA overrides what is known",
        announcement(POD, A6),
        Frame(POD, "33:33:00:00:00:01", Advertisement(A6, ALL_NODES, A6, POD, OVERRIDE)),
        """333300000001 02000000000a 86dd
           60000000 0020 3a ff fd000006000000000000000000000002 ff020000000000000000000000000001
           88 00 5a84 20000000 fd000006000000000000000000000002 02 01 02000000000a""",
    ),
]

RECORDED = [
    (
        "the reply to an ARP probe",
        """02000000000a 02000000000b 0806
           0001 0800 06 04 0002 02000000000b 0a060001 02000000000a 00000000""",
        Frame(OTHER, POD, Arp(REPLY, OTHER, GW4, NOBODY4, POD)),
    ),
    (
        "duplicate address detection, whose option is a nonce (RFC 7527)",
        """3333ff000001 02000000000b 86dd
           60000000 0020 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff000001
           87 00 c31f 00000000 fd000006000000000000000000000001 0e 01 df606b6a61ab""",
        Frame(OTHER, GROUP_MAC, Solicitation(NOBODY6, GROUP, GW6)),
    ),
    (
        "the NA to one who asked from nobody",
        """333300000001 02000000000b 86dd
           60000000 0020 3a ff fd000006000000000000000000000001 ff020000000000000000000000000001
           88 00 5a85 20000000 fd000006000000000000000000000001 02 01 02000000000b""",
        Frame(OTHER, "33:33:00:00:00:01", Advertisement(GW6, ALL_NODES, GW6, OTHER, OVERRIDE)),
    ),
    (
        "the NA to the pod's address, from a router",
        """02000000000a 02000000000b 86dd
           60000000 0020 3a ff fd000006000000000000000000000001 fd000006000000000000000000000002
           88 00 1c80 60000000 fd000006000000000000000000000001 02 01 02000000000b""",
        Frame(OTHER, POD, Advertisement(GW6, A6, GW6, OTHER, SOLICITED | OVERRIDE)),
    ),
]

macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
v4, v6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
messages = st.one_of(
    st.builds(Arp, st.sampled_from([REQUEST, REPLY]), macs, v4, v4, macs),
    st.builds(Solicitation, v6, v6, v6, macs | st.just("")),
    st.builds(Advertisement, v6, v6, v6, macs | st.just(""), st.integers(0, 0xFFFFFFFF)),
)
frames = st.builds(Frame, macs, macs, messages)
NS = encode(question(POD, GW6, A6))
ARP = encode(question(POD, GW4, A4))


@pytest.mark.parametrize(("made", "meant", "raw"), [row[1:] for row in SENT], ids=[row[0] for row in SENT])
def test_what_is_sent(made: Frame, meant: Frame, raw: str) -> None:
    assert made == meant
    assert encode(made).hex() == bytes.fromhex(raw).hex()


@pytest.mark.parametrize(("raw", "meant"), [row[1:] for row in RECORDED], ids=[row[0] for row in RECORDED])
def test_what_linux_sends_is_understood(raw: str, meant: Frame) -> None:
    assert decode(bytes.fromhex(raw)) == meant


@given(frames)
def test_what_is_encoded_is_decoded(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(frames, st.binary(max_size=60))
def test_padding_does_not_matter(frame: Frame, padding: bytes) -> None:
    assert decode(encode(frame) + padding) == frame


@given(st.binary(max_size=200))
def test_nothing_that_comes_in_breaks_it(data: bytes) -> None:
    decode(data)


@given(frames, st.data())
def test_no_damaged_frame_breaks_it(frame: Frame, data: st.DataObject) -> None:
    raw = bytearray(encode(frame))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    decode(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@given(frames, st.integers(min_value=0))
def test_a_frame_that_ends_early_is_none(frame: Frame, cut: int) -> None:
    raw = encode(frame)

    assert decode(raw[: cut % len(raw)]) is None


@pytest.mark.parametrize("own", [A6, None], ids=["of the other family", "none"])
def test_a_question_without_an_own_address_is_a_probe(own: IPv6Address | None) -> None:
    assert question(POD, GW4, own) == question(POD, GW4)
    assert question(POD, GW6, A4) == question(POD, GW6)


@pytest.mark.parametrize(
    ("address", "group", "mac"),
    [
        ("fd00:6::1", "ff02::1:ff00:1", "33:33:ff:00:00:01"),
        ("fe80::ab:12ff:fe34:5678", "ff02::1:ff34:5678", "33:33:ff:34:56:78"),
        ("2001:db8::ffff:ffff", "ff02::1:ffff:ffff", "33:33:ff:ff:ff:ff"),
    ],
)
def test_an_address_is_asked_for_by_its_group(address: str, group: str, mac: str) -> None:
    assert solicited_node(IPv6Address(address)) == IPv6Address(group)
    assert group_mac(IPv6Address(group)) == mac


OPTIONS = [
    ("none", "", ""),
    ("the MAC", "02 01 02000000000b", OTHER),
    ("a nonce, then the MAC", "0e 01 df606b6a61ab 02 01 02000000000b", OTHER),
    ("the MAC, then one of two units", "02 01 02000000000b fd 02 0000000000000000000000000000", OTHER),
    ("a MAC that is longer than ours", "02 02 0000000000000000000000000000", ""),
    ("the source's MAC, which is no target's", "01 01 02000000000b", ""),
]


@pytest.mark.parametrize(
    ("options", "lladdr"), [row[1:] for row in OPTIONS], ids=[row[0] for row in OPTIONS]
)
def test_an_advertisement_may_have_any_options(options: str, lladdr: str) -> None:
    told = Advertisement(GW6, ALL_NODES, GW6, lladdr, OVERRIDE)
    raw = encode(Frame(OTHER, POD, Advertisement(GW6, ALL_NODES, GW6, flags=OVERRIDE)))

    assert decode(with_checksum(raw + bytes.fromhex(options))) == Frame(OTHER, POD, told)


DAMAGED = [
    ("another protocol", ARP, 13, 0x07),
    ("ARP of another hardware", ARP, 15, 6),
    ("ARP of another protocol", ARP, 17, 1),
    ("a reverse ARP request", ARP, 21, 3),
    ("another version of IP", NS, 14, 0x40),
    ("a payload that is longer than the frame", NS, 19, 0x21),
    ("a payload without its target", NS, 19, 8),
    ("another protocol over IPv6", NS, 20, 17),
    ("through a router", NS, 21, 254),
    ("a wrong checksum", NS, 57, NS[57] ^ 1),
]
WRONG = [
    ("a router's advertisement", 54, 134),
    ("another code", 55, 1),
    ("an option without a length", 79, 0),
    ("an option longer than the message", 79, 2),
]


@pytest.mark.parametrize(
    ("raw", "place", "value"), [row[1:] for row in DAMAGED], ids=[row[0] for row in DAMAGED]
)
def test_what_is_damaged_or_foreign_is_none(raw: bytes, place: int, value: int) -> None:
    assert decode(changed(raw, place, value)) is None


@pytest.mark.parametrize(("place", "value"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_so_is_what_is_wrong_with_a_right_checksum(place: int, value: int) -> None:
    assert decode(with_checksum(NS)) is not None
    assert decode(with_checksum(changed(NS, place, value))) is None


def test_half_an_option_is_damage() -> None:
    assert decode(with_checksum(NS + b"\x01")) is None


def changed(raw: bytes, place: int, value: int) -> bytes:
    assert raw[place] != value
    return raw[:place] + bytes([value]) + raw[place + 1 :]


def with_checksum(raw: bytes) -> bytes:
    """An ICMPv6 frame with its length and checksum put right, by another way than the product's."""
    payload = raw[54:56] + bytes(2) + raw[58:]
    data = raw[22:54] + len(payload).to_bytes(4, "big") + b"\0\0\0\x3a" + payload + bytes(len(payload) % 2)
    checksum = 0xFFFF - int.from_bytes(data, "big") % 0xFFFF  # 2**16 is 1 modulo 0xFFFF, so words add up
    return (
        raw[:18]
        + len(payload).to_bytes(2, "big")
        + raw[20:54]
        + payload[:2]
        + checksum.to_bytes(2, "big")
        + payload[4:]
    )
