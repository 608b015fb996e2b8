"""Write dashboards/*.json from source/*.yaml: `python packaging/grafana/build.py [--check]`.

Grafana's format keeps SQL in one line, and repeats data source, place, filters and links in every
panel. In a source a panel is its title, what it means, its unit and its SQL. `{{cluster pool}}` in
SQL filters by these variables, `{{host_pool=pool}}` a column by a variable of another name.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCE = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
COLUMNS = 24
"""Of Grafana's grid."""

Json = dict[str, Any]


def build() -> dict[Path, str]:
    """Every dashboard's file and its text."""
    common = _read(HERE / "common.yaml")
    made = {}
    for path in sorted((HERE / "source").glob("*.yaml")):
        text = json.dumps(_dashboard(_read(path), common), indent=2, ensure_ascii=False)
        made[HERE / "dashboards" / f"{path.stem}.json"] = f"{text}\n"
    return made


def _read(path: Path) -> Json:
    return dict(yaml.safe_load(path.read_text("utf-8")))


def _dashboard(given: Json, common: Json) -> Json:
    names = given["variables"]
    begin, end = given["time"]
    variables = [_variable(name, common["variables"][name]) for name in names]
    return {
        "uid": given["uid"],
        "title": given["title"],
        "description": given["description"].strip(),
        "tags": common["link"]["tags"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": given.get("refresh", ""),
        "time": {"from": begin, "to": end},
        "timezone": "utc",
        "links": [common["link"]],
        "templating": {"list": [common["datasource"], *variables]},
        "annotations": {"list": []},
        "panels": _placed([_panel(panel, names, common["options"]) for panel in given["panels"]]),
    }


def _variable(name: str, given: Json) -> Json:
    many = given.get("many", True)
    sql = _filtered(given["sql"])
    return {
        "name": name,
        "label": given["label"],
        "description": given["description"],
        "type": "query",
        "datasource": SOURCE,
        "query": {"rawSql": sql, "editorType": "sql", "refId": name},
        "definition": sql,
        "hide": 0,
        "refresh": 2,
        "regex": "",
        "sort": 0,
        "multi": many,
        "includeAll": many,
        "current": {"text": ["All"], "value": ["$__all"]} if many else {},
        "options": [],
    }


def _filtered(sql: str) -> str:
    """SQL with its filters written out. All is no filter, so that rows without a value show."""

    def condition(pair: str) -> str:
        column, _, other = pair.partition("=")
        name = other or column
        return f"$__conditionalAll({column} IN (${{{name}:singlequote}}), ${name})"

    return re.sub(
        r"\{\{([\w= ]+)\}\}",
        lambda found: " AND ".join(map(condition, found[1].split())),
        sql.strip(),
    )


def _panel(given: Json, variables: list[str], options: Json) -> Json:
    kind = given["type"]
    queries = given["sql"] if isinstance(given["sql"], list) else [given["sql"]]
    return {
        "type": kind,
        "title": given["title"],
        "description": given["description"].strip(),
        "datasource": SOURCE,
        "gridPos": {"w": given.get("width", 12), "h": given.get("height", 8)},
        "interval": given.get("interval", ""),
        "fieldConfig": {"defaults": _defaults(given), "overrides": _overrides(given, variables)},
        "options": options[kind],
        "targets": [
            _target("ABC"[number], sql, series=kind == "timeseries")
            for number, sql in enumerate(queries)
        ],
    }


def _target(name: str, sql: str, *, series: bool) -> Json:
    return {
        "refId": name,
        "datasource": SOURCE,
        "editorType": "sql",
        "queryType": "timeseries" if series else "table",
        "format": 0 if series else 1,
        "rawSql": _filtered(sql),
    }


def _defaults(given: Json) -> Json:
    steps = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for color, value in given.get("steps", {}).items()]
    made = {
        "unit": given["unit"],
        "noValue": given.get("without", "none"),
        "color": {"mode": "palette-classic" if given["type"] == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if given["type"] == "timeseries":
        made["custom"] = _drawn(bars=given.get("bars", False), stacked=given.get("stacked", False))
    return made | {key: given[key] for key in ("min", "max", "decimals") if key in given}


def _drawn(*, bars: bool, stacked: bool) -> Json:
    return {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if stacked or bars else 0,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }


def _overrides(given: Json, variables: list[str]) -> list[Json]:
    columns: dict[str, list[Json]] = {}
    for name, unit in given.get("units", {}).items():
        columns.setdefault(name, []).append({"id": "unit", "value": unit})
    for name in given.get("right", []):
        columns.setdefault(name, []).append({"id": "custom.axisPlacement", "value": "right"})
    for name, uid in given.get("links", {}).items():
        url = _url(uid, [*given.get("keys", []), name], variables)
        link = {"title": f"Open {uid}", "url": url, "targetBlank": False}
        columns.setdefault(name, []).append({"id": "links", "value": [link]})
    return [
        {"matcher": {"id": "byName", "options": name}, "properties": properties}
        for name, properties in columns.items()
    ]


def _url(uid: str, taken: list[str], variables: list[str]) -> str:
    """A link that keeps time and variables, but for those that the row itself gives."""
    given = [f"var-{name}=${{__data.fields.{name}:percentencode}}" for name in taken]
    kept = [f"${{{n}:queryparam}}" for n in ("datasource", *variables) if n not in taken]
    return f"/d/{uid}?" + "&".join([*given, *kept, "${__url_time_range}"])


def _placed(panels: list[Json]) -> list[Json]:
    """Left to right, in rows as high as their highest panel; ids count from 1."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        size = panel["gridPos"]
        if x + size["w"] > COLUMNS:
            x, y, height = 0, y + height, 0
        panel["gridPos"] = {"x": x, "y": y, **size}
        panel["id"] = number
        x, height = x + size["w"], max(height, size["h"])
    return panels


def main() -> int:
    """Write them; with --check only say which differ, exit code 1 if any."""
    check = sys.argv[1:] == ["--check"]
    made = build()
    stale = {path: text for path, text in made.items() if not _holds(path, text)}
    for path, text in stale.items():
        print(f"{path.name} {'is not what its source says' if check else 'written'}")
        if not check:
            path.write_text(text, "utf-8")
    return int(check and bool(stale))


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
