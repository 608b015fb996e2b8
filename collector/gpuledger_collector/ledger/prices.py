"""What an hour of a GPU costs, by model and from when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import csv_file, yaml_file
from gpuledger_collector.ledger.declared import Entry, Problems, read_text
from gpuledger_collector.ledger.fields import Fields

FIELDS = ("gpu_model", "pool", "usd_per_gpu_hour", "from")
"""Fields of an entry, as written in files."""

_MAX_USD = Decimal(100_000)


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """USD for an hour of a whole GPU whose NVML name contains `gpu_model`, from this moment on.

    "" in gpu_model or pool means any. `pool` is that of the GPUs.
    """

    gpu_model: str
    pool: str
    usd_per_gpu_hour: Decimal
    priced_from: datetime

    @property
    def key(self) -> tuple[str, str, datetime]:
        """What a later version of the same price has in common with it."""
        return self.gpu_model, self.pool, self.priced_from

    @property
    def title(self) -> str:
        """What people call it."""
        where = f" in {self.pool}" if self.pool else ""
        return f"{self.gpu_model or 'any GPU'}{where} from {self.priced_from:%Y-%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What applying a price would alter: `before` is the price of the same key."""

    before: GpuPrice | None
    after: GpuPrice

    def differences(self) -> list[tuple[str, object, object]]:
        """Name, value before and value after: only the price itself can differ."""
        before = self.before.usd_per_gpu_hour if self.before else None
        return [("usd_per_gpu_hour", before, self.after.usd_per_gpu_hour)]


def load(path: Path) -> list[GpuPrice]:
    """The prices of a YAML or CSV file. Raises DeclarationError with all that is wrong."""
    problems = Problems(path)
    text = read_text(path, problems)
    if path.suffix.lower() == ".csv":
        entries = csv_file.entries(text, problems)
    else:
        entries = yaml_file.entries(text, "prices", problems)
    first: dict[tuple[str, str, datetime], int] = {}
    prices = [_price(entry, first, problems) for entry in entries]
    problems.raise_any()
    return [price for price in prices if price is not None]


def diff(client: Client, prices: Sequence[GpuPrice]) -> list[PriceChange]:
    """What applying these would change; those that stand as they are are left out."""
    current = {price.key: price for price in read_current(client)}
    pairs = ((current.get(price.key), price) for price in prices)
    return [PriceChange(before, after) for before, after in pairs if before != after]


def apply(client: Client, prices: Sequence[GpuPrice]) -> list[PriceChange]:
    """Write those that differ, in one insert; return what changed.

    Prices that are not among them stay as they are.
    """
    changes = diff(client, prices)
    if changes:
        [(applied_at,)] = client.query("SELECT now64(6, 'UTC')").result_rows
        client.insert(
            "gpu_prices",
            [(applied_at, *astuple(change.after)) for change in changes],
            column_names=["applied_at", *(f.name for f in fields(GpuPrice))],
        )
    return changes


def read_current(client: Client) -> list[GpuPrice]:
    """The prices in the books, corrected ones as last applied."""
    rows = client.query(
        "SELECT gpu_model, pool, usd_per_gpu_hour, priced_from FROM gpu_prices"
        " ORDER BY applied_at DESC LIMIT 1 BY gpu_model, pool, priced_from",
        query_tz="UTC",
        tz_mode="aware",
    ).result_rows
    return [GpuPrice(*row) for row in rows]


def _price(
    entry: Entry, first: dict[tuple[str, str, datetime], int], problems: Problems
) -> GpuPrice | None:
    read = Fields(entry, FIELDS, problems)
    gpu_model, pool = read.label("gpu_model"), read.label("pool")
    usd = read.number("usd_per_gpu_hour", Decimal(0), _MAX_USD, decimals=6, required=True)
    priced_from = read.moment("from", required=True)
    if usd is None or priced_from is None:
        return None
    price = GpuPrice(gpu_model, pool, usd, priced_from)
    if price.key in first:
        read.note("from", f"the same price stands on line {first[price.key]} already; delete one")
    first.setdefault(price.key, entry.line)
    return price
