"""What every dashboard and alert rule of packaging/grafana keeps to."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.grafana_files import BOARDS, GRAFANA, Json, alert_rules, provisioned, variables
from tests.packaged_clickhouse import READER, ROLES

PLUGIN = "grafana-clickhouse-datasource"
SOURCE = {"type": PLUGIN, "uid": "${datasource}"}
UIDS = {board["uid"]: board for board in BOARDS}

UNITS = {
    "none", "short", "percent", "currencyUSD", "mbytes", "bytes", "watt", "celsius", "ms", "s", "h",
    "reqps",
}  # fmt: skip
"""Of Grafana's units those in use; a suffix or a format of dates is one too."""

PANELS = [(board, panel) for board in BOARDS for panel in board["panels"]]
RULES = alert_rules()

each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
each_panel = pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{board['uid']}: {panel['title']}" for board, panel in PANELS]
)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])


def everything(found: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a document with its value, however deep."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield key, value
            yield from everything(value)
    elif isinstance(found, list):
        for value in found:
            yield from everything(value)


def views(sql: str) -> set[str]:
    return set(re.findall(r"FROM (\w+)", sql))


def test_dashboards_when_built_again_then_they_are_the_same() -> None:
    done = subprocess.run(
        [sys.executable, GRAFANA / "build.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    sources = {path.stem for path in (GRAFANA / "source").glob("*.yaml")}
    assert sources == {path.stem for path in (GRAFANA / "dashboards").glob("*.json")}


def test_dashboards_when_put_side_by_side_then_none_is_mistaken_for_another() -> None:
    assert len(UIDS) == len({board["title"] for board in BOARDS}) == len(BOARDS)
    assert all(re.fullmatch(r"gpuledger-[a-z]{1,30}", uid) for uid in UIDS)


@each_board
def test_dashboard_when_opened_then_it_says_what_it_is_and_leads_to_the_others(board: Json) -> None:
    assert board["tags"] == ["gpuledger"]
    assert board["schemaVersion"] >= 39
    assert board["timezone"] == "utc"
    assert board["description"].endswith(".")
    [link] = board["links"]
    assert (link["type"], link["tags"]) == ("dashboards", ["gpuledger"])
    assert link["keepTime"]
    assert link["includeVars"]


@each_board
def test_dashboard_when_it_asks_then_it_asks_the_data_source_that_was_chosen(board: Json) -> None:
    first = board["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", PLUGIN)
    sources = [value for key, value in everything(board) if key == "datasource"]
    assert sources
    assert all(source == SOURCE for source in sources)
    queries = [value for key, value in everything(board) if key in {"targets", "query"}]
    asked = [query for query in queries if isinstance(query, dict)]
    asked += [target for query in queries if isinstance(query, list) for target in query]
    assert all(query["editorType"] == "sql" and query["rawSql"] for query in asked)


@each_board
def test_dashboard_when_laid_out_then_panels_stand_beside_each_other(board: Json) -> None:
    panels = board["panels"]
    assert (
        len({panel["id"] for panel in panels}) == len({p["title"] for p in panels}) == len(panels)
    )
    for place in (panel["gridPos"] for panel in panels):
        assert place["x"] >= 0 < place["h"]
        assert place["x"] + place["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@each_board
def test_variables_when_chained_then_each_depends_on_those_before_it(board: Json) -> None:
    found = variables(board)
    names = list(found)
    used = Counter(re.findall(r"\$\{(\w+):singlequote\}", str(board)))
    for number, (name, variable) in enumerate(found.items()):
        asked = set(re.findall(r"\$\{(\w+):singlequote\}", variable["query"]["rawSql"]))
        assert asked <= set(names[:number])
        assert bool(asked) == bool(number)
        assert variable["description"].endswith(".")
        assert variable["label"]
        assert variable["multi"] == variable["includeAll"]
        assert variable["refresh"] == 2
        assert used[name], f"nothing asks for {name}"
    assert set(used) <= set(names)


@each_panel
def test_panel_when_looked_at_then_it_says_what_it_shows_and_in_which_unit(
    board: Json, panel: Json
) -> None:
    del board
    assert len(panel["description"]) > 20 or panel["description"] == "Watts, mean."
    assert panel["description"].endswith(".")
    units = [panel["fieldConfig"]["defaults"]["unit"]]
    for override in panel["fieldConfig"]["overrides"]:
        units += [one["value"] for one in override["properties"] if one["id"] == "unit"]
    for unit in units:
        assert unit in UNITS or re.match(r"(suffix: |time:)\S", unit), unit
    assert units != ["none"] or panel["type"] == "table"


@each_panel
def test_panel_when_it_asks_then_in_the_form_that_it_draws(board: Json, panel: Json) -> None:
    found = variables(board)
    series = panel["type"] == "timeseries"
    for target in panel["targets"]:
        assert target["format"] == (0 if series else 1)
        assert target["queryType"] == ("timeseries" if series else "table")
        assert ("ORDER BY time" in target["rawSql"]) == series
        filters = re.findall(r"\$__conditionalAll\((\w+) IN \(\$\{(\w+):singlequote\}\), \$(\w+)\)",
                             target["rawSql"])  # fmt: skip
        assert len(filters) == target["rawSql"].count("$__conditionalAll")
        for column, given, judged in filters:
            assert given == judged
            assert column in {given, f"host_{given}"}
            assert found[given]["includeAll"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert bool(panel["interval"]) == series


@each_panel
def test_link_when_followed_then_it_arrives_with_variables_and_time(
    board: Json, panel: Json
) -> None:
    urls = [value for key, value in everything(panel) if key == "url"]
    for url in urls:
        uid, _, query = url.removeprefix("/d/").partition("?")
        there = {"datasource", *variables(UIDS[uid])}
        given = set(re.findall(r"var-(\w+)=\$\{__data\.fields\.\1:percentencode\}", query))
        kept = set(re.findall(r"\$\{(\w+):queryparam\}", query))
        assert given
        assert given <= there
        assert given | kept == {"datasource", *variables(board)} | given
        assert not given & kept
        assert query.endswith("&${__url_time_range}")
        assert query.count("${") == len(given) + len(kept) + 1


def test_links_when_counted_then_every_page_for_one_thing_can_be_reached() -> None:
    urls = [value for _, panel in PANELS for key, value in everything(panel) if key == "url"]
    reached = {url.removeprefix("/d/gpuledger-").partition("?")[0] for url in urls}
    assert reached >= {"team", "model", "host", "headroom"}


def test_data_source_when_provisioned_then_no_secret_stands_in_the_file() -> None:
    [source] = provisioned("datasources")["datasources"]
    assert (source["type"], source["uid"]) == (PLUGIN, "gpuledger")
    assert all(re.fullmatch(r"\$[A-Z_]+", secret) for secret in source["secureJsonData"].values())
    assert source["secureJsonData"].keys() == {"password"}
    assert "password" not in source["jsonData"]


def test_data_source_when_provisioned_then_it_is_the_reader_within_its_limits() -> None:
    [source] = provisioned("datasources")["datasources"]
    settings = source["jsonData"]
    assert settings["username"] == READER
    assert settings["defaultDatabase"] == "gpuledger"
    [most] = re.findall(r"max_execution_time = \d+ MIN \d+ MAX (\d+)", ROLES)
    assert int(settings["queryTimeout"]) + 5 <= int(most)
    [busy] = re.findall(r"max_concurrent_queries_for_user = (\d+)", ROLES)
    assert int(settings["maxOpenConns"]) <= int(busy)


def test_dashboards_when_provisioned_then_alert_rules_are_in_their_folder() -> None:
    [provider] = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    folders = {group["folder"] for group in provisioned("alerting")["groups"]}
    assert folders == {provider["folder"]}


@each_rule
def test_alert_when_it_fires_then_it_says_what_and_where_to_look(rule: Json) -> None:
    assert re.fullmatch(r"gpuledger-[a-z-]{1,30}", rule["uid"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}
    # Provisioning fills the environment into labels, and into what has braces of annotations.
    assert "$" not in str(rule["labels"])
    assert "${" not in str(rule["annotations"])
    assert "$values.A" in rule["annotations"]["summary"]
    panels = {panel["id"]: panel for panel in UIDS[rule["dashboardUid"]]["panels"]}
    shown = views(panels[rule["panelId"]]["targets"][0]["rawSql"])
    asked = views(rule["data"][0]["model"]["rawSql"])
    assert asked & shown or rule["uid"] == "gpuledger-hosts-silent"


@each_rule
def test_alert_when_evaluated_then_the_backend_alone_can_do_it(rule: Json) -> None:
    query, threshold = rule["data"]
    assert (query["refId"], threshold["refId"], rule["condition"]) == ("A", "B", "B")
    assert threshold["model"]["expression"] == "A"
    assert query["datasourceUid"] == "gpuledger"
    assert query["model"]["datasource"] == {"type": PLUGIN, "uid": "gpuledger"}
    assert (query["model"]["editorType"], query["model"]["format"]) == ("sql", 1)
    assert set(re.findall(r"\$\S*", query["model"]["rawSql"])) <= {
        f"$__timeFilter({column})" for column in ("ts", "hour", "noticed_at")
    }


def test_alerts_when_put_side_by_side_then_none_is_mistaken_for_another() -> None:
    assert len({rule["uid"] for rule in RULES}) == len({r["title"] for r in RULES}) == len(RULES)
