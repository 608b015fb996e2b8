"""The demo as a newcomer runs it, and `up` on a host without a GPU."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

GPULEDGER = str(Path(sys.executable).parent / "gpuledger")


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def test_demo_when_run_to_its_end_then_every_story_is_told_and_the_books_balance() -> None:
    done = subprocess.run(
        [GPULEDGER, "demo", "--exit", "--hours", "1", "--port", "0"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "difference 0.000" in said
    assert re.search(r"assistant asked for 64 GPUs, holds 28, and used 20 at its p95", said)
    assert "image-gen-xl swings between 2 and 40 GiB" in said
    assert re.search(r"14 GPUs are held and do nothing now; 14 of them never did", said)
    assert "growth runs on prod-09, which belongs to another pool" in said
    assert re.search(r"9 small models take 9 GPUs and would fit on 2", said)
    assert "GPU-hours went to work that names no owner" in said
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_when_ended_by_a_signal_then_nothing_is_left_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [GPULEDGER, "demo", "--hours", "1", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        url = ask = ""
        for line in demo.stdout:
            if " query " in line:
                ask = line
            if match := re.search(r"curl '(http://[^/]+)/\?database=(\w+)'", line):
                url, database = match.groups()
                break
        assert url
        question = f"{url}/?database={database}&query=SELECT%20count()%20FROM%20waste_by_team"
        with urllib.request.urlopen(question) as answer:
            assert int(answer.read()) >= 8
        anybody = {k: v for k, v in os.environ.items() if not k.startswith("GPULEDGER")}
        asked = subprocess.run(
            shlex.split(ask), capture_output=True, text=True, check=True, env=anybody
        )
        assert "oversized" in asked.stdout
        children = children_of(demo.pid)
        assert children
        demo.send_signal(number)
        assert demo.wait(40) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(tmp_path.glob("gpuledger-demo-*")) == []


def test_demo_when_ended_before_the_ledger_is_printed_then_none_is_and_nothing_is_left_behind(
    tmp_path: Path,
) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [GPULEDGER, "demo", "--hours", "48", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        assert demo.stderr is not None
        said = b""
        while b"0%" not in said:
            said += demo.stderr.read(1)
        children = children_of(demo.pid)
        assert children
        demo.send_signal(signal.SIGINT)
        assert demo.stdout.read() == b""
        assert demo.wait(40) == 130
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(tmp_path.glob("gpuledger-demo-*")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--hours", "0"], "--hours"),
        (["demo", "--port", "99999"], "--port"),
        (["demo", "--data", "/proc/none"], "/proc/none"),
        (["up", "--listen", "nowhere"], "write HOST:PORT"),
        (["nonsense"], "nonsense"),
    ],
)
def test_command_when_a_flag_is_wrong_then_one_line_says_so(
    arguments: list[str], said: str
) -> None:
    done = subprocess.run([GPULEDGER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode in {1, 2}
    lines = [line for line in done.stderr.splitlines() if "..." not in line]
    assert len(lines) == 1
    assert said in lines[0]


def test_up_when_there_is_no_gpu_then_it_stays_up_and_says_so() -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        subprocess.Popen(
            [GPULEDGER, "up", "--data", data, "--port", "0", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as up,
    ):  # fmt: skip
        assert up.stdout is not None
        for line in up.stdout:
            if "event=driver_unavailable fault=no_driver" in line:
                break
        else:
            pytest.fail("it never said that there is no driver")
        up.send_signal(signal.SIGTERM)
        up.stdout.read()
        assert up.wait(40) == 0
