"""Tokens by which agents are let in, of which the collector keeps digests only."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from gpuledger_agent.bearer import KIND, is_token
from gpuledger_agent.followed import FileRefused, Followed, read_small


@dataclass(frozen=True, slots=True)
class Token:
    """One that is known, and the hosts that its bearer may speak for (a pattern of the shell)."""

    digest: bytes = field(repr=False)
    hosts: str


def follow(path: Path) -> Followed[tuple[Token, ...]]:
    """The tokens in the file, read now and when it is replaced. Raises FileRefused."""
    return Followed("tokens", [path], lambda: load(path))


def load(path: Path) -> tuple[Token, ...]:
    """Read a file of lines `TOKEN [HOSTS]`, of which # begins a remark. Raises FileRefused."""
    try:
        text = read_small(path).decode()
    except UnicodeDecodeError as error:
        raise FileRefused(f"{path}: not UTF-8 text") from error
    found = tuple(_tokens(path, text))
    if not found:
        raise FileRefused(f"{path}: no token; write lines of TOKEN [HOSTS]")
    return found


def _tokens(path: Path, text: str) -> Iterator[Token]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) > 2 or not is_token(words[0]):
            raise FileRefused(f"{path}:{number}: write TOKEN [HOSTS], a token being {KIND}")
        yield Token(_digest(words[0]), words[1] if len(words) == 2 else "*")


def matching(tokens: Iterable[Token], shown: str) -> list[Token]:
    """Those that this is. It takes as long whichever it is, and if it is none."""
    digest = _digest(shown)
    return [token for token in tokens if hmac.compare_digest(token.digest, digest)]


def covers(tokens: Iterable[Token], host: str) -> bool:
    """Whether one of these may speak for the host."""
    return any(fnmatchcase(host, token.hosts) for token in tokens)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
