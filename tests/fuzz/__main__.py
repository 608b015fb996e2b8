"""`python -m tests.fuzz`: mutants into what reads strangers' words, until one finds a fault."""

from __future__ import annotations

import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click

from gpuledger_collector.columns import Insert
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.fuzz.answers import Answers
from tests.fuzz.batches import Batches, Store, Target
from tests.fuzz.run import Outcome, dice_of, run
from tests.fuzz.spools import Spools
from tests.fuzz.texts import Certificates, Cgroups, Containers, Expositions, Infos
from tests.wire.record import keep_for_ever

TARGETS: dict[str, Callable[[], Target]] = {
    "batches": Batches,
    "answers": Answers,
    "expositions": Expositions,
    "containers": Containers,
    "infos": Infos,
    "cgroups": Cgroups,
    "certificates": Certificates,
    "spools": Spools,
}

TELL_S = 60.0


@contextmanager
def real_store() -> Iterator[Store]:
    """Inserts into a real ClickHouse, made for it."""
    with tempfile.TemporaryDirectory() as directory, EmbeddedServer(Path(directory)) as server:
        store = replace(server.store, database="fuzz")
        with connect(store, create_database=True) as client:
            migrate(client)
            keep_for_ever(client)

            def insert(inserts: list[Insert]) -> None:
                for each in inserts:
                    client.insert(each.table, each.columns, column_names=each.names,
                                  column_type_names=each.types, column_oriented=True)  # fmt: skip

            yield insert


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--target", type=click.Choice(list(TARGETS)), default="batches", help="What reads.")
@click.option("--executions", default=1_000_000, help="How many mutants.")
@click.option("--minutes", default=float("inf"), help="But no longer than that.")
@click.option("--seed", type=int, help="Of the mutants.", show_default="a new one")
@click.option("--only", type=int, help="Repeat this execution of the seed, and no other.")
@click.option("--store-every", default=1_000, help="Of how many groups of batches one is stored.")
def main(
    target: str,
    executions: int,
    minutes: float,
    seed: int | None,
    only: int | None,
    store_every: int,
) -> None:
    """Feed mutants to what reads strangers' words. Exit code 1 if one finds a fault."""
    seed = random.randrange(1 << 32) if seed is None else seed
    click.echo(f"{target}: seed {seed}")
    with ExitStack() as stack:
        made = TARGETS[target]()
        if only is not None:
            made.execute(dice_of(seed, only))
            return
        if target == "batches":
            made = Batches(stack.enter_context(real_store()), store_every)
        outcome = run(made, seed, executions, time.monotonic() + 60 * minutes, progress())
        if isinstance(made, Batches):
            click.echo(", ".join(f"{count:,} {what}" for what, count in made.outcomes.items()))
    click.echo(f"{outcome.mutants:,} mutants, {'a' if outcome.error else 'no'} finding")
    if outcome.error is not None:
        traceback.print_exception(outcome.error)
        sys.exit(
            f"again: python -m tests.fuzz --target {target} --seed {seed} --only {outcome.finding}"
        )


def progress() -> Callable[[Outcome], None]:
    """Says now and then how far it is."""
    began = told = time.monotonic()

    def tell(outcome: Outcome) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= TELL_S:
            told = now
            rate = outcome.mutants / (now - began)
            click.echo(f"{now - began:6.0f} s  {outcome.mutants:,} mutants, {rate:,.0f} a second")

    return tell


if __name__ == "__main__":
    main()
