"""docs/wire.md names every field that the agent can send, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf.descriptor import Descriptor

from gpuledger_proto.v1 import telemetry_pb2 as wire

DOCUMENT = Path(__file__).parent.parent / "docs" / "wire.md"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$")


def reachable(message: Descriptor, found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Names of the fields of `message` and of all that it can hold, by message."""
    if message.name not in found:
        found[message.name] = [field.name for field in message.fields]
        for field in message.fields:
            held = field.message_type
            if held is not None and not held.GetOptions().map_entry:
                reachable(held, found)
    return found


def documented() -> dict[str, list[str]]:
    """Names of the fields whose rows are whole, by the heading above them."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif row := ROW.match(line):
            found.setdefault(heading, []).append(row[1])
    return found


def test_wire_document_when_compared_with_the_protocol_then_each_field_stands_there_once() -> None:
    assert documented() == reachable(wire.AgentMessage.DESCRIPTOR, {})
