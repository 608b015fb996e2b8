"""Alert rules over the daemons' real metrics, judged by Prometheus's own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.metrics import DaemonCollector
from gpuledger_collector.metrics import Metrics

ROOT = Path(__file__).parent.parent
RULES = ROOT / "packaging/prometheus/gpuledger.rules.yml"
RUNBOOK = ROOT / "docs/runbook.md"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
METRIC = re.compile(r"\bgpuledger_(?:agent|collector)_\w+")
MINUTES = 150
AGENT, COLLECTOR = "gpuledger_agent", "gpuledger_collector"

WELL = {
    'up{job="gpuledger/gpuledger-agent"}': "1",
    f"{AGENT}_build_info": "1",
    f"{AGENT}_stuck": "0",
    f"{AGENT}_process_start_time_seconds": "100x60 200",
    f"{AGENT}_gpus": "8",
    f"{AGENT}_gpus_failed": "0",
    f"{AGENT}_driver_up": "1",
    f"{AGENT}_ticks_total": "0+100",
    f"{AGENT}_ticks_missed_total": "0+1",
    f"{AGENT}_collector_connected": "1",
    f"{AGENT}_rows_acked_total": "0+10",
    f"{AGENT}_spool_batches": "1",
    f"{AGENT}_spool_bytes": "700",
    f"{AGENT}_spool_limit_bytes": "1000",
    f"{AGENT}_spool_on_disk": "1",
    f"{AGENT}_rows_dropped_total": "7",
    f"{AGENT}_clock_stepped_seconds_total": "9",
    f'{AGENT}_source_up{{source="docker"}}': "1",
    f'{AGENT}_certificate_expiry_timestamp_seconds{{role="own"}}': "2000000",
    f'{AGENT}_certificate_renewal_timestamp_seconds{{role="own"}}': "800000",
    'up{job="gpuledger-collector"}': "1",
    f"{COLLECTOR}_build_info": "1",
    f"{COLLECTOR}_stuck": "0",
    f"{COLLECTOR}_process_start_time_seconds": "100x60 200",
    f"{COLLECTOR}_store_up": "1",
    f"{COLLECTOR}_insert_failures_total": "3",
    f"{COLLECTOR}_rollups_refused_total": "3",
    f"{COLLECTOR}_pending_bytes": "700",
    f"{COLLECTOR}_pending_limit_bytes": "1000",
    f"{COLLECTOR}_rows_refused_total": "7",
    f"{COLLECTOR}_agents_refused_total": "7",
    f'{COLLECTOR}_notifications_failed_total{{receiver="ops"}}': "2",
    f'{COLLECTOR}_notifications_waiting{{receiver="ops"}}': "2",
    f'{COLLECTOR}_notifications_given_up_total{{receiver="ops"}}': "1",
    f'{COLLECTOR}_notifier_leads{{job="gpuledger-collector"}}': "1",
    f'{COLLECTOR}_certificate_expiry_timestamp_seconds{{role="ca"}}': "2000000",
    f'{COLLECTOR}_certificate_renewal_timestamp_seconds{{role="ca"}}': "800000",
}
"""What a healthy fleet shows; `a+b` rises by b a minute."""

ILL = {
    "GpuledgerAgentsAbsent": {f"{AGENT}_build_info": "_"},
    "GpuledgerAgentDown": {'up{job="gpuledger/gpuledger-agent"}': "0"},
    "GpuledgerAgentStuck": {f"{AGENT}_stuck": "1"},
    "GpuledgerAgentRestarts": {f"{AGENT}_process_start_time_seconds": "0+7"},
    "GpuledgerAgentNotMeasuring": {f"{AGENT}_ticks_total": "9", f"{AGENT}_ticks_missed_total": "0"},
    "GpuledgerAgentMissesReadings": {f"{AGENT}_ticks_missed_total": "0+20"},
    "GpuledgerDriverDown": {f"{AGENT}_driver_up": "0"},
    "GpuledgerGpuFailed": {f"{AGENT}_gpus_failed": "1"},
    "GpuledgerAgentNotSending": {f"{AGENT}_collector_connected": "0"},
    "GpuledgerAgentNothingAcked": {f"{AGENT}_rows_acked_total": "9"},
    "GpuledgerSpoolNearlyFull": {f"{AGENT}_spool_bytes": "900"},
    "GpuledgerSpoolNotOnDisk": {f"{AGENT}_spool_on_disk": "0"},
    "GpuledgerAgentLosesRows": {f"{AGENT}_rows_dropped_total": "0+1"},
    "GpuledgerAgentClockStepped": {f"{AGENT}_clock_stepped_seconds_total": "0+1"},
    "GpuledgerSourceDown": {f'{AGENT}_source_up{{source="docker"}}': "0"},
    "GpuledgerAgentCertificateExpires": {
        f'{AGENT}_certificate_renewal_timestamp_seconds{{role="own"}}': "1000"
    },
    "GpuledgerAgentCertificateEnds": {
        f'{AGENT}_certificate_renewal_timestamp_seconds{{role="own"}}': "1000",
        f'{AGENT}_certificate_expiry_timestamp_seconds{{role="own"}}': "8000",
    },
    "GpuledgerCollectorsAbsent": {f"{COLLECTOR}_build_info": "_"},
    "GpuledgerCollectorDown": {'up{job="gpuledger-collector"}': "0"},
    "GpuledgerCollectorStuck": {f"{COLLECTOR}_stuck": "1"},
    "GpuledgerCollectorRestarts": {f"{COLLECTOR}_process_start_time_seconds": "0+7"},
    "GpuledgerStoreDown": {f"{COLLECTOR}_store_up": "0"},
    "GpuledgerRollupsRefused": {f"{COLLECTOR}_rollups_refused_total": "0+0.2"},
    "GpuledgerInsertsFail": {f"{COLLECTOR}_insert_failures_total": "0+1"},
    "GpuledgerCollectorMemoryTaken": {f"{COLLECTOR}_pending_bytes": "900"},
    "GpuledgerRowsRefused": {f"{COLLECTOR}_rows_refused_total": "0+1"},
    "GpuledgerAgentsRefused": {f"{COLLECTOR}_agents_refused_total": "0+1"},
    "GpuledgerNotificationsFail": {
        f'{COLLECTOR}_notifications_failed_total{{receiver="ops"}}': "0+1"
    },
    "GpuledgerNotificationsGivenUp": {
        f'{COLLECTOR}_notifications_given_up_total{{receiver="ops"}}': "0+1"
    },
    "GpuledgerNobodyNotifies": {f'{COLLECTOR}_notifier_leads{{job="gpuledger-collector"}}': "1 0"},
    "GpuledgerCollectorCertificateExpires": {
        f'{COLLECTOR}_certificate_renewal_timestamp_seconds{{role="ca"}}': "1000"
    },
    "GpuledgerCollectorCertificateEnds": {
        f'{COLLECTOR}_certificate_renewal_timestamp_seconds{{role="ca"}}': "1000",
        f'{COLLECTOR}_certificate_expiry_timestamp_seconds{{role="ca"}}': "100000",
    },
}
"""What is other than in a healthy fleet, by the only alert that shall fire for it."""

SHORT = {
    f'{AGENT}_certificate_expiry_timestamp_seconds{{role="own"}}': "90000",
    f'{AGENT}_certificate_renewal_timestamp_seconds{{role="own"}}': "70000",
}
"""A certificate of a day, renewed as it should be: nothing to be told of."""

ONCE = {f"{AGENT}_clock_stepped_seconds_total": "9x20 900"}
"""A clock that was set right once."""


@pytest.fixture(scope="module")
def kinds() -> dict[str, str]:
    """The kind of each metric of both daemons, by the name that Prometheus stores."""
    config = AgentConfig(sources=(), scrape=False, collectors=("127.0.0.1:1",))
    agent = CollectorRegistry()
    agent.register(DaemonCollector(Daemon(config, NvmlLayer())))
    ProcessCollector(namespace="gpuledger_agent", registry=agent)
    families = [*agent.collect(), *Metrics().registry.collect()]
    return {f.name + "_total" * (f.type == "counter"): f.type for f in families}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (make runtimes brings Debian's prometheus)")
    return found


def values(course: str) -> str:
    """promtool's notation of a course of MINUTES."""
    first, _, last = course.rpartition(" ")
    return f"{first} {last}x{MINUTES}".strip()


def fleet(alerts: list[str], other: dict[str, str]) -> dict[str, Any]:
    """A promtool test: with these series, these alerts and no others fire in the end."""
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values(course)} for name, course in (WELL | other).items()
        ],
        "promql_expr_test": [{
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": f'{{alertname="{a}"}}', "value": 1} for a in alerts],
        }],
    }  # fmt: skip


def test_alert_rules_when_promtool_checks_them_then_they_are_sound(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_each_alert_when_its_fault_stands_then_it_fires_and_no_other(
    promtool: str, tmp_path: Path
) -> None:
    assert {alert["alert"] for alert in ALERTS} == set(ILL)
    faults = [fleet([alert], other) for alert, other in ILL.items()]
    tests = [fleet([], {}), fleet([], SHORT), fleet([], ONCE), *faults]
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests})
    )
    done = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_when_they_name_a_metric_then_a_daemon_has_it(kinds: dict[str, str]) -> None:
    for alert in ALERTS:
        named = set(METRIC.findall(alert["expr"]))
        assert named or alert["expr"].startswith("up{"), alert["alert"]
        assert named <= set(kinds), alert["alert"]


def test_alerts_when_they_take_a_rate_then_of_counters_and_of_all_counters(
    kinds: dict[str, str],
) -> None:
    for alert in ALERTS:
        rated = set(re.findall(r"\b(?:rate|increase)\((\w+)\[", alert["expr"]))
        counters = {m for m in METRIC.findall(alert["expr"]) if kinds[m] == "counter"}
        assert rated == counters, alert["alert"]


def sections() -> Iterator[str]:
    yield from re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE)


def test_alerts_when_they_fire_then_they_say_what_how_bad_and_where_to_read_on() -> None:
    assert list(sections()) == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["for"]
        assert alert["labels"]["severity"] in ("warning", "critical")
        notes = alert["annotations"]
        assert set(notes) == {"summary", "description", "runbook"}
        assert notes["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_runbook_when_it_names_a_metric_then_a_daemon_has_it(kinds: dict[str, str]) -> None:
    assert set(METRIC.findall(RUNBOOK.read_text())) <= set(kinds)
