"""SVG as matplotlib writes it, made fit to stand in an HTML page.

The page allows no styles but its own, so those of elements become attributes; ids get a name in
front, as several drawings share the page; and a title and a description say what is to be seen.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.figure import Figure

_FONT = re.compile(r"^(?:(?P<weight>\d+|bold) )?(?P<size>[\d.]+)px")


@dataclass(frozen=True, slots=True)
class Drawing:
    """An `<svg>` element, and what it shows in words."""

    svg: str
    title: str


def drawn(figure: Figure, name: str, title: str, description: str) -> Drawing:
    """The drawing of a figure; the description says in words what is to be seen."""
    text = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    root = ET.fromstring(text.getvalue())  # noqa: S314 - what was drawn here, no stranger's
    _drop(root)
    for element in root.iter():
        _rename(element, name)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for place, (tag, told) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = told
        root.insert(place, element)
    return Drawing(ET.tostring(root, encoding="unicode"), title)


def _drop(root: ET.Element) -> None:
    """Remove what a page has no use for."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in {"metadata", "style"}:
                parent.remove(child)


def _rename(element: ET.Element, name: str) -> None:
    element.tag = _local(element.tag)
    given = {_local(key): value for key, value in element.attrib.items()}
    for declaration in given.pop("style", "").split(";"):
        key, _, value = declaration.partition(":")
        if key.strip() == "font":
            given |= _font(value.strip())
        elif key.strip():
            given[key.strip()] = value.strip()
    for key, value in given.items():
        if key == "id":
            given[key] = f"{name}-{value}"
        elif key in {"href", "clip-path", "fill"} and "#" in value:
            given[key] = value.replace("#", f"#{name}-", 1) if _refers(value) else value
    element.attrib.clear()
    element.attrib.update(given)


def _refers(value: str) -> bool:
    return value.startswith("url(#") or (value.startswith("#") and not re.fullmatch(
        r"#[0-9a-fA-F]{6}", value))  # fmt: skip


def _font(shorthand: str) -> dict[str, str]:
    found = _FONT.match(shorthand)
    if found is None:
        return {}
    font = {"font-size": found["size"]}
    return font | ({"font-weight": found["weight"]} if found["weight"] else {})


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]
