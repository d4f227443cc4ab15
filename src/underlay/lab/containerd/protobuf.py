"""Protocol Buffers on the wire: messages by the numbers of their fields, without generated code.

CRI has hundreds of messages, and the lab sends and reads ten of them.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "int | str | bytes | Mapping[int, Value] | Sequence[Value]"
Message = Mapping[int, Value]

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types
WIDTHS = {FIXED64: 8, FIXED32: 4}  # bytes


def entries(values: Mapping[str, str]) -> list[Message]:
    """A field of type map<string, string>: a message for each of its entries."""
    return [{1: key, 2: value} for key, value in values.items()]


def encode(message: Message) -> bytes:
    """The message; a list is a field that is repeated."""
    return b"".join(_field(number, value) for number, value in message.items())


@dataclass(frozen=True)
class Decoded:
    """A message that was received: the values of its fields in their order, not yet told apart by type."""

    fields: Mapping[int, Sequence[int | bytes]]

    def number(self, field: int) -> int:
        """The last value, or 0, which is never sent."""
        value = self.fields.get(field, [0])[-1]
        return value if isinstance(value, int) else 0

    def data(self, field: int) -> bytes:
        return self._last(field)

    def text(self, field: int) -> str:
        return self._last(field).decode()

    def message(self, field: int) -> Decoded:
        return decode(self._last(field))

    def messages(self, field: int) -> list[Decoded]:
        return [decode(value) for value in self.fields.get(field, []) if isinstance(value, bytes)]

    def entries(self, field: int) -> dict[str, str]:
        """A map<string, string>."""
        return {entry.text(1): entry.text(2) for entry in self.messages(field)}

    def _last(self, field: int) -> bytes:
        value = self.fields.get(field, [b""])[-1]
        return value if isinstance(value, bytes) else b""


def decode(data: bytes) -> Decoded:
    """Reads a message; ValueError where it is none."""
    fields: dict[int, list[int | bytes]] = {}
    for number, value in _fields(data):
        fields.setdefault(number, []).append(value)
    return Decoded(fields)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    if isinstance(value, str | bytes | Mapping):
        data = _bytes(value)
        return _varint(number << 3 | DELIMITED) + _varint(len(data)) + data
    return b"".join(_field(number, each) for each in value)


def _bytes(value: str | bytes | Message) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else encode(value)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            number, at = _read_varint(data, at)
            yield tag >> 3, number
            continue
        if kind == DELIMITED:
            size, at = _read_varint(data, at)
        elif kind in WIDTHS:
            size = WIDTHS[kind]
        else:
            raise ValueError(f"field {tag >> 3} has wire type {kind}")
        if at + size > len(data):
            raise ValueError(f"field {tag >> 3} ends after the message")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("a number ends after the message")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, at
