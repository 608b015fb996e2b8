"""What all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

pytest_plugins = [
    "tests.clickhouse_fixture",
    "tests.collector_fixture",
    "tests.notifier_fixture",
    "tests.notify_receivers",
    "tests.nvml_standin.fixtures",
    "tests.review_fleet",
    "tests.runtimes.containerd",
    "tests.runtimes.dockerd",
    "tests.runtimes.podman",
    "tests.runtimes.scripted_cri",
    "tests.tls_fixture",
    "tests.uplink_fixture",
]

LONGEST = (
    "test_rules_month",
    "test_rollup_days",
    "test_days_stand",
    "test_retention_expiry",
    "test_demo",
    "test_rules_sql",
    "test_traffic_views",
    "test_replay_gentd26",
    "test_report_cli",
    "test_collector_drain",
    "test_traffic_rollup",
    "test_ledger_balance",
    "test_faults",
)
"""Files of a few long tests, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, that workers end together; the others stay shuffled."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def level_as_it_was() -> Iterator[None]:
    """A command that is run within a test sets the log level of this whole process."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
