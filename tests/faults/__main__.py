"""`python -m tests.faults`: a run of one's choice, with a table of what came of it."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from tests.faults.compare import SHOWN
from tests.faults.inflict import KINDS
from tests.faults.run import Result, Settings, run


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--seed", type=int, help="Of courses and faults.", show_default="a new one")
@click.option("--faults", default=1_000, help="How many.")
@click.option("--minutes", default=15.0, help="About how long, without start and comparison.")
@click.option("--hosts", default=16, help="How many agents.")
@click.option("--gpus", default=64, help="GPUs of each host.")
@click.option("--keep", type=click.Path(path_type=Path), help="New directory for what is left.")
def main(
    seed: int | None, faults: int, minutes: float, hosts: int, gpus: int, keep: Path | None
) -> None:
    """Inflict faults upon agents, collectors and ClickHouse, and compare every window.

    Exit code 1 if the books differ from what the simulated GPUs did.
    """
    began = time.monotonic()

    def tell(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {line}")

    seed = random.randrange(1 << 32) if seed is None else seed
    settings = Settings(seed, faults, hosts, gpus, pause_s=60 * minutes / faults)
    click.echo(f"seed {seed}: {hosts} hosts of {gpus} GPUs, {faults} faults")
    if os.geteuid():
        click.echo("no disk is filled: that takes a mount, and so root")
    with ExitStack() as stack:
        if keep is None:
            temporary = tempfile.TemporaryDirectory(prefix="gpuledger-faults-")
            directory = Path(stack.enter_context(temporary))
        else:
            directory = keep
            directory.mkdir(parents=True)
        try:
            result = run(settings, directory, tell)
        except TimeoutError as error:
            sys.exit(f"it does not recover: {error}")
    report(result)
    sys.exit(not result.good)


def report(result: Result) -> None:
    """Print what was done, what was compared, and what is wrong."""
    click.echo("")
    for kind in KINDS:
        click.echo(f"{result.inflicted[kind]:11,}  {kind}")
    click.echo(f"{result.inflicted.total():11,}  faults survived")
    click.echo(f"{result.swallowed:11,}  commits of which the collector heard nothing")
    for what, count in result.starts.items():
        click.echo(f"{count:11,}  starts of {what}")
    click.echo("")
    for table, count in result.differences.compared.items():
        click.echo(f"{count:11,}  {table} compared")
    for kind in ("missing", "extra", "changed", "untold", "wrong"):
        click.echo(f"{result.differences.found[kind]:11,}  {kind}")
    click.echo(f"{len(result.surprises):11,}  surprises")
    for line in (*result.differences.examples, *result.surprises[:SHOWN]):
        click.echo(f"  {line}")


if __name__ == "__main__":
    main()
