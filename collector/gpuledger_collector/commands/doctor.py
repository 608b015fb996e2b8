"""`gpuledger doctor`."""

from __future__ import annotations

import click

from gpuledger_agent import check_collectors
from gpuledger_agent.check_result import Verdict
from gpuledger_agent.dial import Trust
from gpuledger_collector import output
from gpuledger_collector.agent_flags import collector_options
from gpuledger_collector.config import store_options
from gpuledger_collector.doctor.examine import examine
from gpuledger_collector.store.client import StoreConfig


@click.command()
@store_options
@collector_options
@click.option("--silent-minutes", type=click.IntRange(1, 1440), default=10, show_default=True,
              help="How long an agent may say nothing.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table",
              show_default=True, help="How to print what was found.")  # fmt: skip
def doctor(
    store: StoreConfig, collectors: tuple[str, ...], trust: Trust, silent_minutes: int, form: str
) -> None:
    """Look for the usual faults, and name the remedy. Nothing is changed.

    Exit code 0 if nothing fails, 1 if something does.

    Example: gpuledger doctor --clickhouse-url http://clickhouse:8123 --username admin
    --collector books.internal:7670 --tls-ca ca.pem
    """
    found = [*examine(store, silent_minutes), *check_collectors.collectors(trust, collectors)]
    rows = [list(check.as_dict().values()) for check in found]
    output.show(["verdict", "subject", "text", "remedy"], rows, form)
    failed = any(check.verdict is Verdict.FAIL for check in found)
    click.get_current_context().exit(int(failed))
