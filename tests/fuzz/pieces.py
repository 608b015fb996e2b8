"""Mutations of serialized messages that know the wire format, and which columns there are.

A message is kept as its fields, each serialized; so a mutant costs what is changed in it. See
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.fuzz.bytes_of import mutated

NUMBERS = (0, 1, 2, 3, 59, 60, 61, 99, 100, 101, 255, 256, 10_000, 10_001, 60_000, 60_001, 65_535,
           65_536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 40) + 1,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
"""Each beside some limit."""

_LENGTH_DELIMITED = 2
_FIXED = {FieldDescriptor.TYPE_FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it is on the wire. `payload` lacks the tag, and the length if it has one."""

    number: int
    wire_type: int
    payload: bytes

    @property
    def serialized(self) -> bytes:
        head = varint(self.number << 3 | self.wire_type)
        if self.wire_type != _LENGTH_DELIMITED:
            return head + self.payload
        return head + varint(len(self.payload)) + self.payload


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def varints(payload: bytes) -> list[int]:
    """Numbers of a packed column."""
    found, value, shift = [], 0, 0
    for byte in payload:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


def split(message: bytes) -> list[Field]:
    """The fields of a message, up to where it makes no sense."""
    fields: list[Field] = []
    with suppress(IndexError):
        fields.extend(_fields(message))
    return fields


def _fields(message: bytes) -> Iterator[Field]:
    at = 0
    while at < len(message):
        tag, at = _varint_at(message, at)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            length, at = _varint_at(message, at)
            end = at + length
        elif kind == 0:
            _, end = _varint_at(message, at)
        else:
            end = at + (8 if kind == 1 else 4)
        yield Field(tag >> 3, kind, message[at:end])
        at = end


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def joined(fields: Iterable[Field]) -> bytes:
    return b"".join(field.serialized for field in fields)


def mutate(dice: Random, fields: Sequence[Field], about: Descriptor) -> list[Field]:
    """Another message of this kind: a column, a sub-message, or the list of them is changed."""
    changed = list(fields)
    if not changed:
        return [_stranger(dice)]
    at = int(dice.random() * len(changed))
    field, chance = changed[at], dice.random()
    if chance < 0.75:
        changed[at] = _inside(dice, field, about)
    elif chance < 0.80:
        del changed[at]
    elif chance < 0.85:
        changed.insert(int(dice.random() * len(changed)), field)
    elif chance < 0.90:
        changed[at] = Field(field.number, field.wire_type, dice.choice(changed).payload)
    elif chance < 0.94:
        changed[at] = Field(int(dice.random() * 40), field.wire_type, field.payload)
    elif chance < 0.97:
        changed.append(_stranger(dice))
    else:
        dice.shuffle(changed)
    return changed


def _stranger(dice: Random) -> Field:
    """A field that nobody knows, or one that somebody knows with nonsense in it."""
    kind = dice.choice((0, 1, 2, 5))
    payload = {0: varint(dice.choice(NUMBERS)), 1: b"\xff" * 8, 5: b"\xff" * 4}
    return Field(int(dice.random() * 40), kind, payload.get(kind, dice.randbytes(5)))


def _inside(dice: Random, field: Field, about: Descriptor) -> Field:
    known = about.fields_by_number.get(field.number)
    if known is None or field.wire_type != _LENGTH_DELIMITED:
        return Field(field.number, 0, varint(dice.choice(NUMBERS)))
    if known.message_type is not None:
        inner = mutate(dice, split(field.payload), known.message_type)
        return Field(field.number, field.wire_type, joined(inner))
    if known.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return Field(field.number, field.wire_type, mutated(dice, [field.payload]))
    return Field(
        field.number, field.wire_type, _column(dice, field.payload, _FIXED.get(known.type))
    )


def _column(dice: Random, payload: bytes, width: int | None) -> bytes:
    """Another packed column: likeliest with another value, sometimes of another length."""
    if width:
        ends = range(0, len(payload), width)
        values = [int.from_bytes(payload[at : at + width], "little") for at in ends]
    else:
        values = varints(payload)
    chance, at = dice.random(), int(dice.random() * (len(values) or 1))
    if chance < 0.8 and values:
        near = values[at] + dice.choice((-86_400, -60, -10, -1, 1, 10, 60, 86_400))
        values[at] = max(near, 0) if dice.random() < 0.4 else dice.choice(NUMBERS)
    elif chance < 0.9 and values:
        del values[at]
    else:
        values.insert(at, dice.choice(NUMBERS))
    if width:
        return b"".join((value % (1 << 8 * width)).to_bytes(width, "little") for value in values)
    return b"".join(map(varint, values))
