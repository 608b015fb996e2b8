"""`gpuledger ca`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import authority
from gpuledger_collector.authority import CA_FILE, AuthorityError, Issued

_FOLDER = click.Path(file_okay=False, path_type=Path)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except AuthorityError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error


@click.group()
def ca() -> None:
    """Certificates for agents and collectors, for those who have no PKI (docs/security.md).

    Example: gpuledger ca init /root/ca && gpuledger ca issue /root/ca gpu-17 --out certs
    """


@ca.command()
@click.argument("directory", type=_FOLDER)
@click.option(
    "--days", type=click.IntRange(1, 36_500), default=3650, show_default=True, help="Lifetime."
)
def init(directory: Path, days: int) -> None:
    """Make a CA in DIRECTORY: ca.pem for everybody, ca.key for nobody else."""
    with _refusing():
        made = authority.init(directory, days)
    _say(made)
    click.echo(f"Give {made.certificate} to agents (--tls-ca) and collectors (--tls-client-ca).")


@ca.command()
@click.argument("directory", type=_FOLDER)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--collector", is_flag=True, help="For a collector, instead of an agent.")
@click.option(
    "--out",
    type=_FOLDER,
    default=Path(),
    metavar="DIR",
    help="Where NAME.pem and NAME.key go; by default here.",
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Lifetime."
)
def issue(directory: Path, names: tuple[str, ...], collector: bool, out: Path, days: int) -> None:
    """Issue a certificate of the CA in DIRECTORY for a host of these names; or renew it.

    An agent's first NAME is its host (--host); a collector's are those in agents' --collector.
    """
    with _refusing():
        made = authority.issue(directory, names, out, days, collector=collector)
    _say(made)
    click.echo(
        f"They go with {directory / CA_FILE} to the {'collector' if collector else 'agent'}."
    )


def _say(made: Issued) -> None:
    click.echo(f"{made.certificate} and {made.key}, until {made.until:%Y-%m-%d}")
