"""Values that rules name: text with references to what evidence holds, `{label:team}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpuledger_agent.attribution.labels import LabelError, clean, shown

NAMED = ("label", "env")
"""Kinds of fact that have a name: `{label:NAME}`."""

PLAIN = ("workload", "image", "namespace", "user")
"""Kinds of fact that stand alone: `{image}`. No command lines: they hold other people's secrets."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Reference:
    """A fact that evidence may hold: a label, a variable, the image and so on."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


Lookup = Callable[[Reference], str]
"""The fact as evidence has it, "" if it does not."""


@dataclass(frozen=True, slots=True)
class Template:
    """Text and references, in order."""

    parts: tuple[str | Reference, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """The template that is written so. Raises ValueError: what is wrong, and the remedy."""
        template = cls(tuple(_parts(text)))
        literal = "".join(part for part in template.parts if isinstance(part, str))
        try:
            empty = not clean(literal) and not template.references
        except LabelError as error:
            raise ValueError(f"{error}; shorten it, or write other characters") from error
        if empty:
            raise ValueError('is empty; write a value, such as "search" or "{label:team}"')
        return template

    @property
    def references(self) -> tuple[Reference, ...]:
        """The facts it needs."""
        return tuple(part for part in self.parts if isinstance(part, Reference))

    @property
    def literal(self) -> str | None:
        """The value, if it is mere text; None if it refers to something."""
        if self.references:
            return None
        return clean("".join(part for part in self.parts if isinstance(part, str)))

    def fill(self, lookup: Lookup) -> str | None:
        """The value, None if evidence lacks one of the facts."""
        texts = []
        for part in self.parts:
            text = part if isinstance(part, str) else lookup(part)
            if not text:
                return None
            texts.append(text)
        return "".join(texts)

    def origin(self, lookup: Lookup) -> str:
        """The facts that it was made of, for people to read; "" if it is mere text."""
        return ", ".join(f"{one}={shown(lookup(one))}" for one in self.references)


def _parts(text: str) -> Iterator[str | Reference]:
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() > end:
            yield text[end : token.start()]
        end = token.end()
        match token[0]:
            case "{{" | "}}":
                yield token[0][0]
            case "{" | "}":
                raise ValueError("has a brace without its other; write {{ or }} for the character")
            case _:
                yield _reference(token[1])
    if end < len(text):
        yield text[end:]


def _reference(text: str) -> Reference:
    kind, colon, name = text.partition(":")
    if kind in PLAIN and not colon:
        return Reference(kind)
    if kind in NAMED and name:
        return Reference(kind, name)
    known = ", ".join([f"{{{kind}:NAME}}" for kind in NAMED] + [f"{{{kind}}}" for kind in PLAIN])
    raise ValueError(f"{{{shown(text)}}} refers to nothing; take one of {known}")
