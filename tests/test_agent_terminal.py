"""What `check` and `sample` print of strangers: their text, and no line or command of theirs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_processes import CAT, running
from tests.nvml_standin.world import Standin
from tests.test_agent_daemon import AGENT

FORGED = "\nok \x1b[2J\u202e"
UNSEEN = "\u3164"
ESCAPED = "\\nok \\x1b[2J\\u202e"


@pytest.fixture
def forger(standin: Standin, tmp_path: Path) -> Iterator[int]:
    """Pid of a process on a GPU, whose name would forge a line of its own."""
    program = tmp_path / FORGED
    shutil.copy(CAT, program)
    standin.raw.gpus = 1
    standin.raw.gpu[0].name = b"H100\nok  \x1b[2J"
    with running(program=program) as process:
        standin.add(0, process.pid)
        yield process.pid


def said(standin: Standin, tmp_path: Path, *command: str, **env: str) -> str:
    env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"} | env
    flags = ("--source", "environment", "--spool", str(tmp_path / "s"))
    done = subprocess.run(
        [str(AGENT), *command, *flags], env=env, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    return done.stdout.decode()


def test_check_when_names_hold_lines_and_commands_then_they_are_escaped(
    standin: Standin, tmp_path: Path, forger: int
) -> None:
    lines = said(standin, tmp_path, "check").split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if f"pid {forger} {ESCAPED}: nobody names its team" in line]
    assert [line for line in lines if "GPU 0: H100\\nok  \\x1b[2J, GPU-" in line]


def test_sample_when_names_hold_lines_and_commands_then_they_are_escaped(
    standin: Standin, tmp_path: Path, forger: int
) -> None:
    lines = said(standin, tmp_path, "sample", "--window", "1").split("\n")
    assert all(line.isprintable() for line in lines)
    [headline, columns, row] = [line for line in lines if line]
    assert headline.startswith("GPU 0  H100\\nok  \\x1b[2J  held ")
    assert row.startswith(f"  {forger}")
    assert ESCAPED in row
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert row[columns.index("USER") :].startswith(user), "columns stand below one another"


def test_check_when_a_process_shows_nothing_of_its_name_then_it_is_told_as_any(
    standin: Standin, tmp_path: Path
) -> None:
    shutil.copy(CAT, tmp_path / UNSEEN)
    standin.raw.gpus = 1
    with running(program=tmp_path / UNSEEN) as process:
        standin.add(0, process.pid)
        text = said(standin, tmp_path, "check")
        assert f"pid {process.pid} {UNSEEN}: nobody names its team" in text


def test_check_when_a_rule_names_the_user_then_it_is_met_as_when_the_agent_runs(
    standin: Standin, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "by user"\nuser = "root"\nteam = "operators"\n')
    standin.raw.gpus = 1
    standin.add(0, 1)  # init is root's on every host
    text = said(standin, tmp_path, "check", "--rules", str(rules))
    assert "team operators (rule 'by user', user=root, by environment)" in text
