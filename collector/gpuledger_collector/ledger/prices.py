"""What an hour of a GPU costs, by model and from when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gpuledger_collector.ledger.book import Book
from gpuledger_collector.ledger.fields import Fields
from gpuledger_collector.ledger.kinds import Label, Moment, Number

FIELDS = {
    "gpu_model": Label(
        about="Part of NVML's name of the GPU, without regard to case; left out: any",
        column="gpu_model",
    ),
    "pool": Label(about="Pool of the GPUs; left out: any", column="pool"),
    "usd_per_gpu_hour": Number(
        about="Price of a whole GPU for an hour, USD",
        column="usd_per_gpu_hour",
        required=True,
        lowest=Decimal(0),
        highest=Decimal(100_000),
        decimals=6,
    ),
    "from": Moment(about="From when on, UTC", column="priced_from", required=True),
}
"""Fields of an entry of a file."""


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
    def title(self) -> str:
        """What people call it."""
        where = f" in {self.pool}" if self.pool else ""
        return f"{self.gpu_model or 'any GPU'}{where} from {self.priced_from:%Y-%m-%d %H:%M}"


def _build(read: Fields) -> GpuPrice | None:
    labels = read.labels("gpu_model", "pool")
    usd, priced_from = read.number("usd_per_gpu_hour"), read.moment("from")
    if usd is None or priced_from is None:
        return None
    key = (*labels.values(), priced_from)
    read.unique("from", key, "the same price", "delete one")
    return GpuPrice(usd_per_gpu_hour=usd, priced_from=priced_from, **labels)


BOOK = Book("prices", "gpu_prices", GpuPrice, ("gpu_model", "pool", "priced_from"), FIELDS, _build)
