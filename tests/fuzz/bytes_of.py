"""Mutations that know nothing of what the bytes mean, but which of them others trip over."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

MOST = 1 << 16
"""Bytes of a mutant: what only length does is tested elsewhere."""

TOKENS = (
    *(b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xe2\x80\xae", b"\n", b"\\", b'"'),
    *(b"-1", b"1e999", b"NaN", b"9" * 40, b"\x80" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f"),
)


def mutated(dice: Random, seeds: Sequence[bytes], tokens: Sequence[bytes] = TOKENS) -> bytes:
    """One of the seeds after some changes, likelier few than many."""
    body = bytearray(dice.choice(seeds))
    while True:
        _change(dice, body, seeds, tokens)
        if dice.random() < 0.5:
            return bytes(body[:MOST])


def _change(dice: Random, body: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    begin = int(dice.random() * (len(body) + 1))
    end = min(len(body), begin + int(2 ** (dice.random() * 6)))
    match int(dice.random() * 7):
        case 0:
            if begin < len(body):
                body[begin] ^= 1 << int(dice.random() * 8)
        case 1:
            del body[begin:end]
        case 2:
            del body[begin:]
        case 3:
            body[begin:begin] = body[begin:end] * int(1 + dice.random() * 4)
        case 4:
            body[begin:begin] = dice.choice(tokens)
        case 5:
            body[begin:end] = dice.choice(tokens)
        case _:
            other = dice.choice(seeds)
            place = int(dice.random() * (len(other) + 1))
            body[begin:end] = other[place : place + 32]
