"""Two agents never share a spool: the second is refused in one line, on any disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpuledger_agent.spool import Spool
from gpuledger_agent.spool_state import SpoolError
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.small_disk import small_disk

AGENT = Path(sys.executable).parent / "gpuledger-agent"

HOLDER = """
import sys
from pathlib import Path
from gpuledger_agent.spool import Spool
spool = Spool(Path(sys.argv[1]))
print("holds", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with this spool, which ends by kill -9 at the latest."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        yield holder
        holder.kill()


def refusal(path: Path) -> str:
    with pytest.raises(SpoolError) as raised:
        Spool(path)
    return str(raised.value)


def says(path: Path) -> str:
    return (
        f"spool {path}: another agent uses it;"
        " stop that one, or give this one a file of its own (--spool)"
    )


def test_agent_when_another_uses_its_spool_then_it_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    command = [AGENT, "run", "--spool", path]
    with held(path):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith(says(path))


def test_spool_when_its_agent_was_killed_then_the_next_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    with held(path):
        assert refusal(path) == says(path)
    Spool(path).close()


def test_spool_when_closed_then_another_process_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    Spool(path).close()
    with held(path):
        pass


def test_spools_when_side_by_side_then_neither_keeps_out_the_other(tmp_path: Path) -> None:
    with held(tmp_path / "one.sqlite"):
        Spool(tmp_path / "two.sqlite").close()


@pytest.mark.parametrize("used_before", [True, False])
def test_spool_when_its_disk_is_write_protected_then_a_second_agent_is_refused_too(
    tmp_path: Path, *, used_before: bool
) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        path = disk.path / "spool.sqlite"
        if used_before:
            Spool(path).close()
        disk.protect("ro")
        with held(path):
            assert refusal(path) == says(path)
        Spool(path).close()


def test_spool_when_damaged_and_replaced_then_a_second_agent_is_refused_still(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    with held(path):
        assert refusal(path) == says(path)


def test_spool_when_another_took_it_while_the_disk_was_away_then_windows_wait_in_memory(
    tmp_path: Path,
) -> None:
    """Without a directory there was nothing to lock."""
    with small_disk(tmp_path / "disk", 8) as disk:
        disk.protect("ro")
        path = disk.path / "later" / "spool.sqlite"
        spool = Spool(path)
        disk.protect("rw")
        with held(path):
            spool.append([wire.Batch(dictionary=[""])], 10)
            assert not spool.state().on_disk
            assert len(spool.after(0, 10)) == 1
        spool.append([wire.Batch(dictionary=[""])], 20)
        assert spool.state().on_disk
        spool.close()
