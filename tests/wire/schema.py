"""Other versions of the wire: as they were recorded, with less, or with what nobody knows yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from gpuledger_proto.v1 import telemetry_pb2 as wire

NEW = 999
"""Number of a field, and of a kind of message, that no version has."""

NEW_VALUE = 99
"""Of an enum."""


@dataclass(frozen=True, slots=True)
class Wire:
    """The messages of one version. They cannot be told to mypy: it has not seen their schema."""

    agent: Any
    collector: Any

    def without_what_it_does_not_know(self, message: bytes) -> bytes:
        """A message of an agent, as far as a collector of this version can read it."""
        parsed = self.agent.FromString(message)
        parsed.DiscardUnknownFields()
        return bytes(parsed.SerializeToString())


def present() -> FileDescriptorProto:
    schema = FileDescriptorProto()
    wire.DESCRIPTOR.CopyToProto(schema)
    return schema


def classes(schema: FileDescriptorProto) -> Wire:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    agent, collector = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{schema.package}.{name}"))
        for name in ("AgentMessage", "CollectorMessage")
    )
    return Wire(agent, collector)


def without(schema: FileDescriptorProto, *fields: str) -> FileDescriptorProto:
    """The schema less these fields, each as Message.field."""
    for place in fields:
        message, _, name = place.partition(".")
        found = _message(schema, message).field
        kept = [field for field in found if field.name != name]
        assert len(kept) == len(found) - 1, f"there is no {place}"
        del found[:]
        found.extend(kept)
    return schema


def with_news() -> FileDescriptorProto:
    """The present schema; a further field in every message, value in every enum, kind of each."""
    schema = present()
    for message in schema.message_type:
        message.field.append(_field(message))
    for enum in schema.enum_type:
        enum.value.add(name=f"{enum.name}_NEW", number=NEW_VALUE)
    return schema


def _field(message: DescriptorProto) -> FieldDescriptorProto:
    """In a message of kinds one more kind, elsewhere text."""
    field = FieldDescriptorProto(
        name="new",
        number=NEW,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type=FieldDescriptorProto.TYPE_STRING,
    )
    if message.oneof_decl:
        field.oneof_index = 0
    return field


def _message(schema: FileDescriptorProto, name: str) -> DescriptorProto:
    [found] = [message for message in schema.message_type if message.name == name]
    return found


def fields(schema: FileDescriptorProto) -> dict[tuple[str, int], tuple[str, int, int, str]]:
    """By message and number: name, type, label and the type's name; what must never change."""
    return {
        (message.name, field.number): (field.name, field.type, field.label, field.type_name)
        for message in _all_messages(schema)
        for field in message.field
    }


def values(schema: FileDescriptorProto) -> dict[tuple[str, int], str]:
    """By enum and number: the name."""
    enums: list[EnumDescriptorProto] = list(schema.enum_type)
    return {(enum.name, value.number): value.name for enum in enums for value in enum.value}


def _all_messages(schema: FileDescriptorProto) -> list[DescriptorProto]:
    nested = [inner for message in schema.message_type for inner in message.nested_type]
    return [*schema.message_type, *nested]
