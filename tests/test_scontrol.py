"""Running scontrol: one that hangs, fails, floods, or is not to be trusted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gpuledger_agent.attribution import scontrol
from gpuledger_agent.attribution.base import SourceError
from tests.runtimes.scontrol_script import put
from tests.waiting import wait_until

LONG = "7654321"
"""Seconds that no other process sleeps."""


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only directory of PATH, which is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_scontrol_when_others_could_have_put_it_there_then_it_is_not_run(path: Path) -> None:
    file = put(path, "exit 0")
    assert scontrol.find() == file
    file.chmod(0o777)
    assert scontrol.find() is None
    file.chmod(0o755)
    os.chown(file, 1000, 1000)
    assert scontrol.find() is None
    file.unlink()
    assert scontrol.find() is None


def test_scontrol_when_it_is_run_then_it_sees_nothing_of_the_agents_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("SCONTROL_ALL", "1")
    file = put(path, 'env; echo "$@"')
    said = scontrol.show(file, "job", "--details", "1", until=time.monotonic() + 60)
    assert "SLURM_CONF=/etc/slurm/slurm.conf" in said
    assert "SECRET" not in said
    assert "SCONTROL_ALL" not in said
    assert said.endswith("show --oneliner job --details 1\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", "contact"),
        (f"exec /bin/sleep {LONG}", "did not answer in time"),
        (f"/bin/sleep {LONG} & exit 0", "did not answer in time"),
        (f"exec >&- 2>&-; /bin/sleep {LONG}", "did not end in time"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_scontrol_when_it_fails_or_hangs_then_that_is_said_and_nothing_is_left(
    path: Path, script: str, said: str
) -> None:
    with pytest.raises(SourceError, match=said) as error:
        scontrol.show(put(path, script), "job", "1", until=time.monotonic() + 0.3)
    assert "\n" not in str(error.value)
    wait_until(lambda: not any(LONG.encode() in command_line for command_line in _running()))


def _running() -> Iterator[bytes]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_bytes()


def test_scontrol_when_it_cannot_be_run_then_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be run"):
        scontrol.show(tmp_path / "none", "job", "1", until=time.monotonic() + 60)


def test_scontrol_when_it_floods_then_only_the_beginning_is_read(
    path: Path,
) -> None:
    file = put(path, "exec yes JobId=1")
    said = scontrol.show(file, "job", "1", until=time.monotonic() + 60)
    assert scontrol.MAX_OUTPUT <= len(said) <= scontrol.MAX_OUTPUT + (1 << 16)
