"""Declarations in YAML: one key, a list of flat mappings, nothing clever."""

from __future__ import annotations

import yaml

from gpuledger_collector.ledger.declared import MAX_ENTRIES, Entry, Problems, Text

_MAX_DEPTH = 8

_NULL = "tag:yaml.org,2002:null"

_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def entries(text: str, key: str, problems: Problems) -> list[Entry]:
    """The entries listed under `key`. Raises DeclarationError if the file is no such list."""
    items = _items(_compose(text, problems), key, problems)
    found = [_entry(item, problems) for item in items]
    return [entry for entry in found if entry is not None]


def _compose(text: str, problems: Problems) -> yaml.Node | None:
    """The document as nodes. Aliases are refused: they can make a small file huge."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                problems.add(line, "uses an anchor or alias; write the value out")
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if event.tag:
                    problems.add(line, f"has a tag, {event.tag[:40]}; leave it out")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MAX_DEPTH:
                problems.add(line, "nests too deep; write each entry as a flat list of fields")
            problems.raise_any()
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problems.add(*_explain(error, text))
        problems.raise_any()
        raise


def _explain(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    mark = getattr(error, "problem_mark", None)
    what = str(getattr(error, "problem", None) or "cannot be read").replace("\n", " ")
    line = min(mark.line, text.count("\n")) if mark else 0
    tabs = "\t" in text.split("\n")[line]
    hint = "indent with spaces, not tabs" if tabs else "check indentation and quotes"
    return line + 1, f"is not valid YAML: {what}; {hint}"


def _items(root: yaml.Node | None, key: str, problems: Problems) -> list[yaml.Node]:
    if root is None:
        problems.add(1, f"is empty; start it with `{key}:` and a list below")
    elif not isinstance(root, yaml.MappingNode):
        problems.add(_line(root), f"must start with `{key}:`; put the list below that")
    else:
        return _listed(root, key, problems)
    problems.raise_any()
    return []


def _listed(root: yaml.MappingNode, key: str, problems: Problems) -> list[yaml.Node]:
    lists: list[yaml.Node] = []
    for name, value in root.value:
        if name.value != key:
            problems.add(_line(name), f"{_name(name)}: is not known here; the only key is `{key}:`")
        elif not isinstance(value, yaml.SequenceNode):
            problems.add(_line(name), f"{key}: must be a list; start each entry with `- `")
        elif lists:
            problems.add(_line(name), f"{key}: stands twice; join the lists")
        else:
            lists.append(value)
    if not lists and not problems.found:
        problems.add(1, f"lacks `{key}:`; put the list below that")
    problems.raise_any()
    items: list[yaml.Node] = lists[0].value
    if len(items) > MAX_ENTRIES:
        problems.add(_line(lists[0]), f"{key}: holds more than {MAX_ENTRIES} entries; split it")
        problems.raise_any()
    return items


def _entry(node: yaml.Node, problems: Problems) -> Entry | None:
    if not isinstance(node, yaml.MappingNode):
        problems.add(_line(node), "is not an entry; write `- id: ...` and the fields below it")
        return None
    fields: dict[str, Text] = {}
    seen: set[str] = set()
    for key, value in node.value:
        name = _name(key)
        if name in seen:
            problems.add(_line(key), f"{name}: stands twice in one entry; delete one")
        elif not isinstance(value, yaml.ScalarNode):
            problems.add(_line(key), f"{name}: must be a single value; write `{name}: VALUE`")
        elif not value.tag.startswith("tag:yaml.org,2002:") or "python" in value.tag:
            problems.add(_line(value), f"{name}: has a tag; write the plain value")
        elif value.tag != _NULL and value.value != "":
            fields[name] = Text(value.value, _line(value))
        seen.add(name)
    return Entry(_line(node), fields)


def _name(node: yaml.Node) -> str:
    return str(node.value)[:40] if isinstance(node, yaml.ScalarNode) else "(a key)"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
