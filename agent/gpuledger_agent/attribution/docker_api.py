"""The two questions of the Docker Engine API that we ask, and the shape of its answers."""

from __future__ import annotations

import json
import math
import re
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from gpuledger_agent.attribution.base import MAX_VALUE_BYTES, MAX_WORKLOADS, QUERY_S, SourceError
from gpuledger_agent.attribution.unix_http import TooLongError, UnixHttp

_LIST = "/containers/json"
_ID = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
_LISTED = re.compile(
    rb'\{\s*"Id"\s*:\s*"([0-9a-f]{64})"\s*,\s*"Names"\s*:\s*(\[[^\[\]]{0,8192}\]|null)'
)
"""The beginning of a container in a list. In a string it would have a backslash before each quote,
so no label can look like it."""

_LISTED_BYTES = 9_000

INSPECT_S = QUERY_S / 4
"""How long one container of many may take."""

_JSON_NAMES = {dict: "object", list: "array", str: "string", int: "whole number"}

T = TypeVar("T", dict[str, Any], list[Any], str, int)


def is_id(value: str) -> bool:
    """Whether this is a container's whole id."""
    return _ID.fullmatch(value) is not None


def member(value: Any, key: str, kind: type[T]) -> T:
    """`value[key]`, empty where it is absent or null. Raises SourceError for another type."""
    if not isinstance(value, dict):
        raise SourceError(f"its API answers without an object around {key}")
    found = value.get(key)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        raise SourceError(f"its API answers with {key} that is no {_JSON_NAMES[kind]}")
    return found


def text(value: Any) -> str:
    """A string that can be encoded; "" for any other value and for one too long to keep."""
    if not isinstance(value, str) or len(value) > MAX_VALUE_BYTES:
        return ""
    # JSON may escape halves of a surrogate pair.
    encoded = value.encode("utf-8", "replace")
    return encoded.decode() if len(encoded) <= MAX_VALUE_BYTES else ""


class Engine:
    """A conversation with the runtime, QUERY_S long at most. A context manager.

    It speaks the newest version of the API that the runtime has. A version of our own would be
    refused by some (Docker 20.10 knows none after 1.41, Docker 29 none before 1.44), and to name
    none is deprecated. What we read is the same in all of them.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._http = UnixHttp(socket, QUERY_S)
        self._prefix = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    @property
    def over(self) -> bool:
        """Whether its time is up."""
        return self._http.over

    def running(self) -> dict[str, str]:
        """Id -> name of the running containers, at most MAX_WORKLOADS. Raises SourceError."""
        try:
            listed = self._get(_LIST)
        except TooLongError:
            # It holds all labels of all containers: whoever has large ones must not hide the rest.
            return self._running_of_any_length()
        if not isinstance(listed, list):
            raise SourceError("its API answers with no array of containers")
        found = ((member(one, "Id", str), member(one, "Names", list)) for one in listed)
        names = {container_id: _own(names) for container_id, names in found if is_id(container_id)}
        return dict(list(names.items())[:MAX_WORKLOADS])

    def _running_of_any_length(self) -> dict[str, str]:
        found = self._http.find(self._versioned(_LIST), _LISTED, _LISTED_BYTES)
        names = {one[1].decode(): _own(_names(one[2])) for one in islice(found, MAX_WORKLOADS)}
        if not names:
            raise SourceError(f"{self._socket} answers {_LIST} at length with no containers")
        return names

    def inspect(self, container_id: str) -> Any | None:
        """All about one container, None if there is no such one. Raises SourceError."""
        return self._get(f"/containers/{quote(container_id, safe='')}/json", INSPECT_S)

    def _get(self, target: str, seconds: float = math.inf) -> Any | None:
        answer = self._http.get(self._versioned(target), seconds)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise SourceError(f"{self._socket} answers {target} with status {answer.status}")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self._socket} answers {target} with no JSON") from error

    def _versioned(self, target: str) -> str:
        if not self._prefix:
            version = self._http.get("/_ping").headers.get("api-version", "")
            if not _VERSION.fullmatch(version):
                raise SourceError(f"{self._socket} is no Docker Engine API: it tells no version")
            self._prefix = f"/v{version}"
        return self._prefix + target


def _names(array: bytes) -> list[Any]:
    try:
        found = json.loads(array)
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _own(names: list[Any]) -> str:
    """A container's own name; the others are links to it, `/other/alias`."""
    own = (name[1:] for name in map(text, names) if name.startswith("/") and name.count("/") == 1)
    return next(own, "")
