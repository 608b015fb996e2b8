"""What packaging/grafana holds, as Grafana reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.packaged_clickhouse import PACKAGING

GRAFANA = PACKAGING / "grafana"
Json = dict[str, Any]

BOARDS: list[Json] = [
    json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
]


@dataclass(frozen=True)
class Query:
    """A query of a panel, a variable or an alert rule, and where it stands."""

    board: Json
    place: str
    sql: str
    panel: Json
    """Empty for a variable or a rule."""

    @property
    def id(self) -> str:
        return f"{self.board.get('uid', 'alert')}: {self.place}"


def panel_queries() -> Iterator[Query]:
    """Every target of every panel."""
    for board in BOARDS:
        for panel in board["panels"]:
            for target in panel["targets"]:
                place = f"{panel['title']} {target['refId']}"
                yield Query(board, place, target["rawSql"], panel)


def variables(board: Json) -> dict[str, Json]:
    """Variables that ask the books, by name, in their order."""
    return {
        found["name"]: found for found in board["templating"]["list"] if found["type"] == "query"
    }


def variable_queries() -> Iterator[Query]:
    """The query of every variable of every dashboard."""
    for board in BOARDS:
        for name, found in variables(board).items():
            yield Query(board, f"${name}", found["query"]["rawSql"], {})


def provisioned(kind: str) -> Json:
    """A file of provisioning."""
    text = (GRAFANA / "provisioning" / kind / "gpuledger.yaml").read_text()
    return dict(yaml.safe_load(text))


def alert_rules() -> list[Json]:
    """Every alert rule."""
    return [rule for group in provisioned("alerting")["groups"] for rule in group["rules"]]
