"""What an hour of a GPU costs, by model and from when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import csv_file, yaml_file
from gpuledger_collector.ledger.declared import Entry, Problems, read_text
from gpuledger_collector.ledger.fields import Fields

FIELDS = ("gpu_model", "usd_per_gpu_hour", "from")
"""Fields of an entry, as written in files."""

_MAX_USD = 1e6


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """USD for an hour of a whole GPU whose NVML name contains `gpu_model`, from this moment on."""

    gpu_model: str
    usd_per_gpu_hour: float
    valid_from: datetime


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What applying a price would alter: `before` is the price of the same model and moment."""

    before: GpuPrice | None
    after: GpuPrice


def load(path: Path) -> list[GpuPrice]:
    """The prices of a YAML or CSV file. Raises DeclarationError with all that is wrong."""
    problems = Problems(path)
    text = read_text(path, problems)
    if path.suffix.lower() == ".csv":
        entries = csv_file.entries(text, problems)
    else:
        entries = yaml_file.entries(text, "prices", problems)
    first: dict[tuple[str, datetime], int] = {}
    prices = [_price(entry, first, problems) for entry in entries]
    problems.raise_any()
    return [price for price in prices if price is not None]


def diff(client: Client, prices: Sequence[GpuPrice]) -> list[PriceChange]:
    """What applying these would change; those that stand as they are are left out."""
    current = {(p.gpu_model, p.valid_from): p for p in read_current(client)}
    pairs = ((current.get((p.gpu_model, p.valid_from)), p) for p in prices)
    return [PriceChange(before, after) for before, after in pairs if before != after]


def apply(client: Client, prices: Sequence[GpuPrice]) -> list[PriceChange]:
    """Write those that differ, in one insert; return what changed.

    Prices that are not among them stay as they are.
    """
    changes = diff(client, prices)
    if changes:
        [(applied_at,)] = client.query("SELECT now64(3, 'UTC')").result_rows
        client.insert(
            "gpu_prices",
            [
                (applied_at, c.after.gpu_model, c.after.usd_per_gpu_hour, c.after.valid_from)
                for c in changes
            ],
            column_names=["applied_at", "gpu_model", "usd_per_gpu_hour", "valid_from"],
        )
    return changes


def read_current(client: Client) -> list[GpuPrice]:
    """The prices in the books, corrected ones as last applied."""
    rows = client.query(
        "SELECT gpu_model, usd_per_gpu_hour, valid_from FROM gpu_prices"
        " ORDER BY applied_at DESC LIMIT 1 BY gpu_model, valid_from",
        query_tz="UTC",
        tz_mode="aware",
    ).result_rows
    return [GpuPrice(*row) for row in rows]


def _price(
    entry: Entry, first: dict[tuple[str, datetime], int], problems: Problems
) -> GpuPrice | None:
    read = Fields(entry, FIELDS, problems)
    gpu_model = read.label("gpu_model", required=True)
    usd = read.number("usd_per_gpu_hour", 0, _MAX_USD, required=True)
    valid_from = read.moment("from", required=True)
    if usd is None or valid_from is None:
        return None
    key = (gpu_model.lower(), valid_from)
    if key in first:
        read.note("gpu_model", f"has a price from then on line {first[key]} already; delete one")
    first.setdefault(key, entry.line)
    return GpuPrice(gpu_model, usd, valid_from)
