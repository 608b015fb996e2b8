"""A production day through agents, collector and store: the books say what its files say.

The truth is computed here from the lines of the files alone, without anything of gpuledger.
"""

from __future__ import annotations

import csv
import gzip
import random
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from bench.gentd26 import TraceError, read
from bench.replay_gentd26 import books, replay
from gpuledger_collector.serve import CollectorThread

ROOT = Path(__file__).resolve().parents[1]
DAY = ROOT.parent / "shared" / "data" / "gentd26"
FILES = ("pod_gpu_duty_cycle_anon.csv.gz", "pod_gpu_memory_used_bytes_anon.csv.gz")
BEGAN = 1_662_858_720
GIB = 1 << 30

Line = tuple[str, int, float]
"""Pod, time in seconds, value."""


@dataclass(frozen=True)
class Truth:
    """What samples say, each counting as much as any other; GPUs are medians over times."""

    busy_pct: float
    active_gpus: int
    measured_gpus: int
    held_gpus: int
    mem_gib_p95: float
    held_samples: int


def lines_of(path: Path) -> list[Line]:
    with gzip.open(path, "rt") as file:
        return [
            (row["container_ip"], int(float(row["timestamp_anon"])), float(row["value"]))
            for row in csv.DictReader(file)
        ]


def truth_of(directory: Path) -> Truth:
    busy, memory = (lines_of(directory / name) for name in FILES)
    measured = {(pod, at) for pod, at, _ in busy}
    held = measured | {(pod, at) for pod, at, _ in memory}
    times = {at for _, at in held}

    def median_at_a_time(ats: list[int]) -> int:
        count = Counter(ats)
        return statistics.median_high(count[at] for at in times)

    return Truth(
        busy_pct=statistics.fmean(value for _, _, value in busy),
        active_gpus=median_at_a_time([at for _, at, value in busy if value > 0]),
        measured_gpus=median_at_a_time([at for _, at in measured]),
        held_gpus=median_at_a_time([at for _, at in held]),
        mem_gib_p95=statistics.quantiles(
            (value / GIB for _, _, value in memory), n=20, method="inclusive"
        )[-1],
        held_samples=len(held),
    )


def check(directory: Path, truth: Truth, collector: CollectorThread, client: Client) -> None:
    replay(read(directory), collector.address, lambda _: None)
    said = books(client)
    assert said.busy_pct == pytest.approx(truth.busy_pct, rel=1e-3)
    assert said.active_gpus == truth.active_gpus
    assert said.measured_gpus == truth.measured_gpus
    assert said.held_gpus == truth.held_gpus
    assert said.mem_gib_p95 == pytest.approx(truth.mem_gib_p95, rel=1e-3)
    assert said.held_hours == pytest.approx(truth.held_samples / 60, rel=1e-9)
    assert said.difference_hours == 0


def write(path: Path, lines: list[str]) -> None:
    with gzip.open(path, "wt") as file:
        file.write("\n".join(["value,container_ip,timestamp_anon", *lines, ""]))


def make_up(directory: Path, dice: random.Random) -> None:
    """Twenty pods that come and go, and of whom samples are missing in one file or in both."""
    busy, memory = [], []
    for pod in range(20):
        came = dice.randrange(100)
        for sample in range(came, min(came + dice.randrange(1, 80), 101)):
            key = f"pod-{pod},{BEGAN + 57 * sample}"
            if dice.random() < 0.9:
                busy.append(f"{dice.choice((0, 0, 5 / 3, 50, 100))},{key}")
            if dice.random() < 0.9:
                memory.append(f"{dice.choice((20.1, 30.1, 30.1)) * GIB},{key}")
    for name, lines in zip(FILES, (busy, memory), strict=True):
        dice.shuffle(lines)
        write(directory / name, lines)


def test_replay_when_pods_come_and_go_and_samples_are_missing_then_the_books_say_what_files_say(
    tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    make_up(tmp_path, random.Random(26))
    check(tmp_path, truth_of(tmp_path), collector, client)


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not DAY.is_dir(),
    reason=f"{DAY} is absent: public research data that is not ours to redistribute",
)
def test_replay_when_it_is_a_production_day_then_the_books_say_what_its_files_say(
    collector: CollectorThread, client: Client
) -> None:
    truth = truth_of(DAY)
    assert round(truth.busy_pct, 2) == 7.03
    assert (truth.active_gpus, truth.measured_gpus) == (23, 109)
    assert round(truth.mem_gib_p95, 1) == 31.3
    check(DAY, truth, collector, client)


GOOD = f"1,pod,{BEGAN}"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_text("value"), "gzip"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "ended before"),
        (lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n")), "columns container_ip, "),
        (lambda path: write(path, []), "no samples"),
        (lambda path: write(path, [GOOD, f"nan,pod,{BEGAN + 57}"]), "line 3: value nan is not"),
        (lambda path: write(path, [GOOD, f"-1,pod,{BEGAN + 57}"]), "line 3: value -1.0 is not"),
        (lambda path: write(path, [GOOD, f"1e99,pod,{BEGAN + 57}"]), "line 3: value 1e\\+99 is"),
        (lambda path: write(path, [GOOD, f"much,pod,{BEGAN + 57}"]), "line 3: .*'much'"),
        (lambda path: write(path, [GOOD, "1,pod"]), "line 3: "),
        (lambda path: write(path, [GOOD, f"1,pod,{BEGAN + 1}"]), "line 3: .* multiple of 57"),
        (lambda path: write(path, [GOOD, f"1,pod,{BEGAN}"]), "line 3: .* two samples"),
        (lambda path: write(path, [GOOD, "1,pod,57"]), "at most 17280"),
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_trace_when_a_file_is_not_as_published_then_one_line_says_where(
    tmp_path: Path, name: str, spoil: Callable[[Path], object], said: str
) -> None:
    for each in FILES:
        write(tmp_path / each, [GOOD])
    spoil(tmp_path / name)
    with pytest.raises(TraceError, match=said) as refused:
        read(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_command_when_the_directory_holds_no_trace_then_one_line_says_so_and_it_exits_with_2(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.replay_gentd26", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / FILES[0]}: No such file or directory\n"
    assert done.stdout == ""
