"""The wire format of Protocol Buffers, against the examples of its specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.lab.containerd.protobuf import Decoded, Message, decode, encode, entries


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ({1: 150}, "08 96 01"),
        ({2: "testing"}, "12 07 74 65 73 74 69 6e 67"),
        ({3: {1: 150}}, "1a 03 08 96 01"),
        ({4: ["hello", "world"]}, "22 05 68 65 6c 6c 6f 22 05 77 6f 72 6c 64"),
        ({1: b"\x00\xff"}, "0a 02 00 ff"),
        ({1: True}, "08 01"),
        ({16: 1}, "80 01 01"),
        ({1: entries({"a": "b"})}, "0a 06 0a 01 61 12 01 62"),
    ],
)
def test_a_message_is_the_bytes_of_the_specification(message: Message, data: str) -> None:
    assert encode(message) == bytes.fromhex(data)


def test_what_was_received_is_read_by_numbers() -> None:
    data = encode(
        {1: 7, 2: "text", 3: {1: "inner"}, 4: [{1: "one"}, {1: "two"}], 5: entries({"key": "value"})}
    )

    found = decode(data)

    assert (found.number(1), found.text(2), found.message(3).text(1)) == (7, "text", "inner")
    assert [each.text(1) for each in found.messages(4)] == ["one", "two"]
    assert found.entries(5) == {"key": "value"}


def test_what_was_not_sent_is_the_default() -> None:
    found = decode(b"")

    assert (found.number(1), found.text(1), found.data(1)) == (0, "", b"")
    assert (found.message(1), found.messages(1), found.entries(1)) == (Decoded({}), [], {})


def test_fields_of_fixed_width_are_passed_over() -> None:
    assert decode(bytes.fromhex("09 0102030405060708 15 01020304 18 2a")).number(3) == 42


@pytest.mark.parametrize("data", ["08", "08 96", "12 07 74", "0b", "15 01"])
def test_what_ends_too_early_or_is_no_message_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match=r"after the message|wire type"):
        decode(bytes.fromhex(data))


@given(st.integers(min_value=0, max_value=2**64 - 1), st.integers(min_value=1, max_value=2**29 - 1))
def test_every_number_in_every_field_comes_back(value: int, field: int) -> None:
    assert decode(encode({field: value})).number(field) == value
