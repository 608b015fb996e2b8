"""The command `gpuledger`: each subcommand is a file in `commands/`, loaded when it runs."""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path

import click

from gpuledger_agent.core_dumps import forbid_core_dumps, trace_crashes
from gpuledger_agent.leaving import leave
from gpuledger_collector.config import load_file
from gpuledger_collector.store.client import StoreError

COMMANDS = {
    "demo": "A simulated fleet, and its ledger within a minute.",
    "up": "This host, all in one: ClickHouse, collector, agent.",
    "serve": "Receive what agents send and keep the books.",
    "migrate": "Bring a database to the schema of this version.",
    "requests": "Declare who asked for how many GPUs.",
    "prices": "Declare what GPU time costs.",
    "slos": "Declare what endpoints must achieve.",
    "plan": "What a request would do to its pool.",
    "findings": "What should be acted on now, worst money first.",
    "report": "The capacity review in one file.",
    "doctor": "What ails the books and the agents, and what helps.",
    "notify": "Check and try who is told of findings.",
    "query": "Ask the books in SQL.",
    "ca": "Certificates for agents and collectors.",
}
"""Subcommand -> what it does; the file in `commands/` has its name."""

EXTRAS = {"demo": "all", "up": "all", "ca": "tls"}
"""Subcommands that need more than the collector's own dependencies."""


class LazyGroup(click.Group):
    """A group that imports a command when it runs: `--help` loads no database driver."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All subcommands, the most wanted first."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one subcommand."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f"gpuledger_collector.commands.{cmd_name}")
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("gpuledger_collector"):
                raise
            extra = EXTRAS.get(cmd_name, "collector")
            raise click.ClickException(
                f"{error.name} is not installed: pip install 'gpuledger[{extra}]'"
            ) from error
        command = getattr(module, cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.{cmd_name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List subcommands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "GPULEDGER",
    },
)
@click.version_option(metadata.version("gpuledger"))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    callback=load_file,
    is_eager=True,
    expose_value=False,
    show_default="/etc/gpuledger/collector.toml, if it exists",
    help="TOML file with settings; flags and the environment come first.",
)
def cli() -> None:
    """Keep double-entry books of GPUs: requested against used, per team and model.

    Start with: gpuledger demo
    """


def main() -> None:
    """Run the command; every error is one line on stderr."""
    forbid_core_dumps()
    trace_crashes()
    try:
        code = cli.main(prog_name="gpuledger", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"gpuledger: {error.format_message()}", err=True)
        code = error.exit_code
    except StoreError as error:
        click.echo(f"gpuledger: {error}", err=True)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        code = 0
    leave(code)
