"""The systemd units, confined as far as promised, and the settings beside them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from gpuledger_agent.cli import cli as agent_cli
from gpuledger_agent.config import DEFAULT_SPOOL
from gpuledger_collector.cli import cli as collector_cli

SYSTEMD = Path(__file__).parents[1] / "packaging/systemd"
EXPOSURE = {"gpuledger-agent": 20, "gpuledger-collector": 15}
"""Tenths that `systemd-analyze security` may find at most."""

SETTING = re.compile(r"^#(?=[a-z_]+ = |\[)", re.MULTILINE)

analyzed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze judges units: install systemd"
)


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@analyzed
@pytest.mark.parametrize("unit", EXPOSURE)
def test_unit_when_judged_then_its_exposure_is_as_low_as_promised(unit: str) -> None:
    judged = analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE[unit]}", SYSTEMD / f"{unit}.service"
    )
    assert judged.returncode == 0, judged.stdout
    assert "Overall exposure level" in judged.stdout


@analyzed
@pytest.mark.parametrize("dropped_in", [False, True])
@pytest.mark.parametrize("unit", EXPOSURE)
def test_unit_when_read_by_systemd_then_it_finds_nothing_to_complain_of(
    unit: str, dropped_in: bool, tmp_path: Path
) -> None:
    # The program is where the package puts it, not here.
    text = (SYSTEMD / f"{unit}.service").read_text()
    file = tmp_path / f"{unit}.service"
    file.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))
    if dropped_in:
        shutil.copytree(SYSTEMD / "drop-ins", tmp_path / f"{unit}.service.d")
    verified = analyze("verify", "--man=no", "--recursive-errors=no", file)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("unit", EXPOSURE)
def test_unit_when_it_makes_an_exemption_then_a_comment_says_why(unit: str) -> None:
    text = (SYSTEMD / f"{unit}.service").read_text()
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    wanted = {"PrivateNetwork", "IPAddressDeny"}
    if unit == "gpuledger-agent":
        wanted |= {"PrivateDevices", "PrivateUsers", "ProcSubset", "SYS_PTRACE", "DAC_READ_SEARCH"}
    assert not [name for name in wanted if name not in comments]


def test_unit_of_the_agent_when_started_then_its_spool_is_in_its_state() -> None:
    text = (SYSTEMD / "gpuledger-agent.service").read_text()
    state = Path("/var/lib") / re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE)[0]
    assert DEFAULT_SPOOL.parent == state


def settings_in(file: str, tmp_path: Path) -> Path:
    """The packaged file with every setting set, the files it names beside it."""
    text = SETTING.sub("", (SYSTEMD / file).read_text())
    for name in re.findall(r'"/etc/gpuledger/([^"]+)"', text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    written = tmp_path / file
    written.write_text(text.replace("/etc/gpuledger", str(tmp_path)))
    return written


def values_of(cli: click.Group, command: str, settings: Path) -> click.Context:
    """The command with these settings alone, every value converted, as if it were run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GPULEDGER_")]:
            patch.delenv(name)  # those of tests that ran before in this process
        context = cli.make_context("gpuledger", ["--config", str(settings), command])
        found = cli.get_command(context, command)
        assert found is not None
        return found.make_context(command, [], parent=context)


def test_agent_file_when_every_setting_in_it_is_set_then_the_agent_takes_them(
    tmp_path: Path,
) -> None:
    context = values_of(agent_cli, "run", settings_in("agent.toml", tmp_path))
    taken = {
        name
        for name in context.params
        if context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT_MAP
    }
    left_out = {"model", "endpoint", "use_case", "insecure", "families", "spool"}
    assert set(context.params) - taken == left_out


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_collector_file_when_every_setting_in_it_is_set_then_the_command_takes_them(
    command: str, tmp_path: Path
) -> None:
    context = values_of(collector_cli, command, settings_in("collector.toml", tmp_path))
    assert context.params["clickhouse_url"] == "http://127.0.0.1:8123"
    assert context.params["password_file"] == tmp_path / "collector/password"


@pytest.mark.parametrize("file", ["agent.toml", "collector.toml"])
def test_file_when_just_installed_then_it_sets_nothing(file: str) -> None:
    lines = (SYSTEMD / file).read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
