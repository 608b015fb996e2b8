"""The command `gpuledger-agent`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

import click

from gpuledger_agent import __version__, log
from gpuledger_agent.check import checks
from gpuledger_agent.check_result import Verdict
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.core_dumps import forbid_core_dumps, trace_crashes
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.followed import FileRefused
from gpuledger_agent.leaving import leave
from gpuledger_agent.options import load_file, settings
from gpuledger_agent.sample import as_json, as_table, take_sample
from gpuledger_agent.service_manager import ServiceManager
from gpuledger_agent.settings_file import Refused
from gpuledger_agent.signals import ending
from gpuledger_agent.spool_state import SpoolError
from gpuledger_agent.text import one_line

_MARKS = {Verdict.OK: "ok  ", Verdict.WARN: "warn", Verdict.FAIL: "FAIL"}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="gpuledger")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="GPULEDGER_AGENT_CONFIG",
    callback=load_file,
    is_eager=True,
    expose_value=False,
    show_default="/etc/gpuledger/agent.toml, if it exists",
    help="TOML file with settings; flags and the environment come first.",
)
def cli() -> None:
    """Measure who uses the GPUs of this host, and report it to a gpuledger collector.

    Example: gpuledger-agent run --collector books.internal:7670 --pool production
    """


@cli.command()
@settings
def run(config: AgentConfig, log_level: str) -> None:
    """Measure and report until SIGTERM (what the systemd unit does)."""
    log.configure(log_level)
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in ending():
        signal.signal(number, end)
    try:
        Daemon(config, NvmlLayer()).run(stop, ServiceManager())
    except (FileRefused, SpoolError) as error:
        raise Refused(str(error)) from error


@cli.command()
@settings
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print what was found.",
)
@click.pass_context
def check(context: click.Context, config: AgentConfig, log_level: str, form: str) -> None:
    """Say what this host can see and attribute, and what to do where it cannot.

    Exit code 0 if all is well, 1 if something needs doing.
    """
    log.configure(log_level)
    failed = False
    found = []
    for result in checks(config, NvmlLayer()):
        failed |= result.verdict is Verdict.FAIL
        found.append(result)
        if form == "text":
            click.echo(one_line(f"{_MARKS[result.verdict]}  {result.subject}: {result.text}"))
            if result.remedy:
                click.echo(one_line(f"      -> {result.remedy}"))
    if form == "json":
        click.echo(as_json([result.as_dict() for result in found]))
    context.exit(int(failed))


@cli.command()
@settings
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print the window.",
)
def sample(config: AgentConfig, log_level: str, form: str) -> None:
    """Measure one window and print it, without storing or sending it."""
    log.configure(log_level)
    gpus = take_sample(config, NvmlLayer(), lambda line: click.echo(line, err=True))
    click.echo(as_json(gpus) if form == "json" else as_table(gpus))


def main() -> None:
    """Run the command; every error is one line on stderr."""
    forbid_core_dumps()
    trace_crashes()
    try:
        code = cli.main(prog_name="gpuledger-agent", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"gpuledger-agent: {error.format_message()}", err=True)
        code = error.exit_code
    except click.Abort:
        code = 130
    leave(code)
