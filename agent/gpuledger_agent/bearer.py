"""Tokens by which agents are let in: what one looks like, and the agent's own."""

from __future__ import annotations

import re
from pathlib import Path

from gpuledger_agent.followed import FileRefused, Followed, read_small

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}={0,2}")

KIND = "16 to 512 letters, digits and ._~+/- (openssl rand -hex 32 makes one)"
"""What a token is, for messages. They must not repeat what stands in the file."""


def is_token(text: str) -> bool:
    """Whether it can be one; that of RFC 6750, and not so short that it could be guessed."""
    return _TOKEN.fullmatch(text) is not None


def follow(path: Path) -> Followed[str]:
    """The token in the file, read now and when it is replaced. Raises FileRefused."""
    return Followed("token", [path], lambda: load(path))


def load(path: Path) -> str:
    """Read it. Raises FileRefused."""
    text = read_small(path).decode("utf-8", "replace").strip()
    if not is_token(text):
        raise FileRefused(f"{path}: not one token of {KIND}")
    return text
