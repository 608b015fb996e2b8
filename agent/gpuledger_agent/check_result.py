"""What a check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Verdict(Enum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `remedy` is empty where nothing needs doing."""

    verdict: Verdict
    subject: str
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain strings, for JSON."""
        return asdict(self) | {"verdict": self.verdict.value}
