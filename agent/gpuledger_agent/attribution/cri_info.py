"""What a container was started with, out of the JSON that runtimes add to a verbose status.

The CRI leaves it to them what it holds. containerd and CRI-O agree on one topic, `info`, with the
OCI runtime specification in it; containerd adds the CRI's own configuration of the container.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuledger_agent.attribution.base import MAX_VALUE_BYTES
from gpuledger_agent.attribution.labels import fitting

INFO_LIMIT = 4 << 20
"""Bytes of JSON that are looked at. It holds the environment twice, which execve(2) limits."""

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Started:
    """The wanted variables, NVIDIA_VISIBLE_DEVICES as set, and injected devices by CDI name."""

    environ: Mapping[str, str] = field(default_factory=dict)
    visible: str = ""
    cdi: tuple[str, ...] = ()


def started(info: Mapping[str, bytes], wants: Callable[[str], bool]) -> Started:
    """What the runtime tells, as far as it can be read. Never raises."""
    try:
        raw = info.get("info", b"")
        document = json.loads(raw) if len(raw) <= INFO_LIMIT else None
    except (ValueError, RecursionError):
        document = None
    config = _member(document, "config")
    process = _member(_member(document, "runtimeSpec"), "process")
    asked, got = dict(_config_env(config)), dict(_spec_env(process))
    environ = {**asked, **got}
    wanted = {k: v for k, v in environ.items() if wants(k) and len(v.encode()) <= MAX_VALUE_BYTES}
    return Started(
        environ=fitting(wanted),
        visible=_visible(asked, got, _member(document, "runtimeOptions")),
        cdi=tuple(_text(_member(device, "name")) for device in _list(config, "CDI_devices")),
    )


def _visible(asked: Mapping[str, str], got: Mapping[str, str], options: Any) -> str:
    """What the pod says is visible, or else its image: which says `all` even where no GPU is."""
    inherited = got.get(VISIBLE_DEVICES, "")
    if inherited == "all" and "nvidia" not in _text(_member(options, "binary_name")):
        inherited = ""
    visible = asked.get(VISIBLE_DEVICES, inherited)
    return visible if len(visible.encode()) <= MAX_VALUE_BYTES else ""


def _config_env(config: Any) -> Iterator[tuple[str, str]]:
    for pair in _list(config, "envs"):
        yield _text(_member(pair, "key")), _text(_member(pair, "value"))


def _spec_env(process: Any) -> Iterator[tuple[str, str]]:
    for variable in _list(process, "env"):
        name, _, value = _text(variable).partition("=")
        yield name, value


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any, key: str) -> list[Any]:
    found = _member(value, key)
    return found if isinstance(found, list) else []


def _text(value: Any) -> str:
    """A string that can be encoded: JSON may escape halves of a surrogate pair."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
