"""`gpuledger query`."""

from __future__ import annotations

import re
import sys

import click
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import output
from gpuledger_collector.config import store_options
from gpuledger_collector.store.client import (
    StoreConfig,
    StoreError,
    answered,
    connect,
    one_line,
    reading,
)

_FORMAT = re.compile(r"\bFORMAT\s+\w+\s*;?\s*\Z", re.IGNORECASE)
"""Asked for in the query, where the driver asks for its own."""


@click.command()
@click.argument("sql")
@store_options
@click.option("--format", "form", type=click.Choice(output.FORMATS), default="table",
              show_default=True, help="How to print the rows.")  # fmt: skip
def query(sql: str, store: StoreConfig, form: str) -> None:
    """Ask the books in SQL; `-` reads it from stdin. Nothing can be changed this way.

    Example: gpuledger query "SELECT * FROM waste_by_team ORDER BY waste_usd DESC LIMIT 5"
    """
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise Refused("no SQL: give a query, or - and the query on stdin")
    with connect(store) as client:
        try:
            result = client.query(text, settings=reading(client))
        except ClickHouseError as error:
            if "SYNTAX_ERROR" in str(error) and _FORMAT.search(text):
                raise Refused("leave FORMAT out of the query: --format says it") from error
            if answered(error):
                raise Refused(one_line(error)) from error
            raise StoreError(f"{store.url}: {one_line(error)}") from error
    if form == "table" and not result.result_rows:
        click.echo("no rows", err=True)
    else:
        output.show(result.column_names, result.result_rows, form)
