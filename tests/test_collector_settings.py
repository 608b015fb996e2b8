"""Where `gpuledger` takes its settings from: flags, then the environment, then a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpuledger_collector.cli import cli
from gpuledger_collector.store.client import StoreError

QUERY = ("query", "SELECT 1")
REQUESTS = ("requests", "diff", "{file}")
PRICES = ("prices", "apply", "{file}")
SLOS = ("slos", "diff", "{file}")
FINDINGS = ("findings",)
RULES = ("findings", "evaluate")
MIGRATE = ("migrate",)
EVERY = (QUERY, REQUESTS, PRICES, SLOS, FINDINGS, RULES, MIGRATE)


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    """A file without entries, as right for requests as for prices."""
    path = tmp_path / "declared.csv"
    path.write_text("from\n")
    return path


def url_used(arguments: tuple[str, ...], declared: Path, **env: str) -> str:
    """The ClickHouse URL, of a scheme that is no ClickHouse's, that a command was told."""
    given = [argument.format(file=declared) for argument in arguments]
    error = CliRunner().invoke(cli, given, env=env).exception
    assert isinstance(error, StoreError)
    return str(error).split("'")[1]


@pytest.mark.parametrize("command", EVERY)
def test_settings_when_a_file_gives_one_for_all_then_every_command_has_it(
    tmp_path: Path, declared: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "c.toml").write_text('clickhouse_url = "file://a"\n')
    assert url_used(("--config", str(tmp_path / "c.toml"), *command), declared) == "file://a"


@pytest.mark.parametrize("command", EVERY)
def test_settings_when_a_table_gives_one_then_it_goes_before_that_for_all(
    tmp_path: Path, declared: Path, command: tuple[str, ...]
) -> None:
    tables = "".join(
        f'[{name}]\nclickhouse_url = "{name}://b"\n' for name in sorted({each[0] for each in EVERY})
    )
    (tmp_path / "c.toml").write_text('clickhouse_url = "file://a"\n' + tables)
    used = url_used(("--config", str(tmp_path / "c.toml"), *command), declared)
    assert used == f"{command[0]}://b"


@pytest.mark.parametrize("command", EVERY)
def test_settings_when_the_environment_gives_one_then_it_goes_before_the_file(
    tmp_path: Path, declared: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "c.toml").write_text('clickhouse_url = "file://a"\n')
    arguments = ("--config", str(tmp_path / "c.toml"), *command)
    assert url_used(arguments, declared, GPULEDGER_CLICKHOUSE_URL="env://c") == "env://c"


def test_settings_when_a_flag_gives_one_then_it_goes_before_all(declared: Path) -> None:
    flagged = (*QUERY, "--clickhouse-url", "flag://d")
    assert url_used(flagged, declared, GPULEDGER_CLICKHOUSE_URL="env://c") == "flag://d"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('clickhouse_url = "file://a"\n[up]\npool = "p"\n', "'file://a' is no ClickHouse URL"),
        ("[demo]\nhours = 1\n[serve]\nhours = 1\n", "[serve] hours: gpuledger serve has no such"),
    ],
)
def test_settings_when_some_commands_are_not_installed_then_the_file_counts_for_the_others(
    tmp_path: Path, text: str, said: str
) -> None:
    """As with `pip install 'gpuledger[collector]'`, which brings no psutil."""
    (tmp_path / "c.toml").write_text(text)
    without = "import sys; sys.modules['psutil'] = None; from gpuledger_collector.cli import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{without}; main()", "--config", str(tmp_path / "c.toml"), *QUERY],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
