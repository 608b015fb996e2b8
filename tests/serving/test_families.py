"""Each family's text, as its documentation and source have it, to exact figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuledger_agent.serving.families import FamiliesError, Family, load, parse
from tests.serving.exposed import FAMILIES, TEXTS, reading_of, served, text_of

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"

EXPECTED: dict[str, dict[str, dict[str, Any]]] = {
    "vllm": {
        LLAMA: {
            "requests": 56,
            "errors": 1,
            "prompt_tokens": 9128,
            "generated_tokens": 8000,
            "running": 5,
            "waiting": 1,
            "kv_cache": pytest.approx(42.857142),
            "latency": {300_000: 10, 500_000: 20, 1_500_000: 20, 60_000_000: 5, None: 1},
            "latency_ms": 9_003_250,
            "ttft": {20_000: 5, 40_000: 35, 250_000: 16},
            "ttft_ms": 2_810,
        }
    },
    "sglang": {
        LLAMA: {
            "requests": 11_228,
            "prompt_tokens": 8_128_902,
            "generated_tokens": 7_557_572,
            "running": 162,
            "waiting": 2_826,
            "kv_cache": pytest.approx(28),
            "latency": {
                500_000: 6, 5_000_000: 1, 10_000_000: 3, 15_000_000: 1, 20_000_000: 3,
                30_000_000: 233, 40_000_000: 239, 50_000_000: 359, 60_000_000: 668, None: 9_715,
            },
            "latency_ms": 3_116_093_850,
            "ttft": {
                40_000: 1, 60_000: 2, 80_000: 3, 1_000_000: 21, 2_500_000: 113, 5_000_000: 174,
                7_500_000: 627, 10_000_000: 389, 15_000_000: 640, 20_000_000: 356, 25_000_000: 91,
                30_000_000: 96, None: 8_495,
            },
            "ttft_ms": 2_351_897_947,
        }
    },
    "tgi": {
        "": {
            "requests": 150,
            "errors": 3,
            "prompt_tokens": 14_211,
            "generated_tokens": 2_940,
            "running": 5,
            "waiting": 3,
            "latency": {147_789: 80, 748_183: 60, 1_683_411: 7},
            "latency_ms": 22_500,
        }
    },
    "triton": {
        "ensemble": {
            "requests": 63, "errors": 3,
            "ttft": {100_000: 10, 500_000: 40, 2_000_000: 9, 5_000_000: 1}, "ttft_ms": 24_000,
        },
        "tensorrt_llm": {
            "prompt_tokens": 9_400, "generated_tokens": 7_700, "running": 9, "waiting": 4,
            "kv_cache": pytest.approx(16),
        },
    },
    "tensorrt-llm": {
        "Qwen/Qwen3-0.6B": {
            "requests": 155, "prompt_tokens": 3_100, "generated_tokens": 15_500, "running": 6,
            "waiting": 0, "kv_cache": 50, "latency": {1_000_000: 100, 5_000_000: 55},
            "latency_ms": 312_500, "ttft": {20_000: 12, 60_000: 138, None: 5}, "ttft_ms": 8_750,
        }
    },
    "nim": {
        "meta/llama-3.1-8b-instruct": {
            "requests": 100, "errors": 3, "prompt_tokens": 300, "generated_tokens": 1_600,
            "running": 4, "waiting": 2, "kv_cache": 25,
            "latency": {1_000_000: 50, 2_500_000: 40, 10_000_000: 6, None: 1},
            "latency_ms": 200_125, "ttft": {100_000: 90, 1_000_000: 7}, "ttft_ms": 6_500,
        }
    },
    "ray-serve": {
        "": {
            "requests": 150, "errors": 2, "running": 4, "waiting": 5,
            "latency": {5_000: 10, 10_000: 13, 100_000: 77, 1_000_000: 47, None: 1},
            "latency_ms": 31_600,
        },
        "qwen": {
            "prompt_tokens": 4_096, "generated_tokens": 512, "kv_cache": pytest.approx(33.3),
            "ttft": {500_000: 5, 1_000_000: 4, None: 1}, "ttft_ms": 4_000,
        },
    },
    "llama.cpp": {
        "": {
            "prompt_tokens": 6_886, "generated_tokens": 3_469, "running": 1, "waiting": 0,
            "kv_cache": 12.5,
        }
    },
}  # fmt: skip


def figures(text: bytes, known: tuple[Family, ...] = FAMILIES) -> dict[str, dict[str, Any]]:
    """By model and column; of histograms the buckets that hold something, None above all."""
    found: dict[str, dict[str, Any]] = {}
    for model, one in served(text, known=known).items():
        columns: dict[str, Any] = {**one.counts, **one.gauges}
        for column, histogram in one.histograms.items():
            buckets = zip((*histogram.upto_us, None), histogram.counts, strict=True)
            columns[column] = {upto: count for upto, count in buckets if count}
            columns[f"{column}_ms"] = histogram.sum_ms
        found[model] = {str(column): value for column, value in columns.items()}
    return found


def test_families_when_listed_then_a_text_of_each_is_expected() -> None:
    assert {family.name for family in FAMILIES} == set(EXPECTED)
    assert {path.stem for path in TEXTS.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("family", EXPECTED)
def test_text_when_it_is_of_a_family_then_every_figure_is_exact(family: str) -> None:
    reading = reading_of(text_of(family))
    assert reading is not None
    assert reading.family.name == family
    assert figures(text_of(family)) == EXPECTED[family]


@pytest.mark.parametrize("family", EXPECTED)
def test_text_when_it_is_of_a_family_then_every_column_that_is_described_is_found(
    family: str,
) -> None:
    reading = reading_of(text_of(family))
    assert reading is not None
    assert reading.matched.keys() == reading.family.columns.keys()


def test_text_when_triton_passes_on_what_vllm_tells_then_it_is_read_as_vllm() -> None:
    reading = reading_of(text_of("triton") + text_of("vllm"))
    assert reading is not None
    assert reading.family.name == "vllm"


def test_text_when_it_is_of_no_family_then_nothing_is_read() -> None:
    assert reading_of(b"go_goroutines 7\nhttp_requests_total 4\n") is None


def test_columns_when_a_metric_was_renamed_then_the_older_name_counts_alone() -> None:
    older = text_of("vllm").replace(b"vllm:kv_cache_usage_perc", b"vllm:other")
    assert figures(older)[LLAMA]["kv_cache"] == 99


OWN = """
[[family]]
name = "ranker"
ports = [9100]
paths = "/stats"
served_model = "name"
requests = { metrics = ["hits", "misses"], where.code = ["2*", "5*"] }
errors = { metric = "hits", where.code = "5*" }
latency = { metric = "took", unit = "ms" }
kv_cache = { metric = "full", unit = "percent" }
"""

ANSWER = b"""
hits{code="200",name="a"} 10
hits{code="503",name="a"} 2
hits{code="404",name="a"} 50
misses{code="200",name="b"} 7
took_bucket{name="a",le="10"} 3
took_bucket{name="a",le="+Inf"} 4
full{name="a"} 80
"""


def test_family_when_described_in_a_file_then_its_servers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "families.toml"
    file.write_text(OWN)
    known = load(file)
    reading = reading_of(ANSWER, known)
    assert reading is not None
    assert (reading.family.name, reading.family.ports, reading.family.paths) == (
        "ranker", (9100,), ("/stats",),
    )  # fmt: skip
    assert figures(ANSWER, known) == {
        "a": {
            "requests": 12, "errors": 2, "kv_cache": 80, "latency": {10_000: 3, None: 1},
            "latency_ms": 0,
        },
        "b": {"requests": 7},
    }  # fmt: skip


def test_family_when_a_file_describes_a_built_in_one_then_the_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "families.toml"
    file.write_text('[[family]]\nname = "vllm"\nrequests = "mine"\n')
    [vllm] = [family for family in load(file) if family.name == "vllm"]
    assert set(vllm.metrics()) == {"mine"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("request = 'x'", "request: is not a key; take one of name, ports, paths, served_model,"),
        ("requests = 7", "requests: is neither a metric nor a table; write its name in quotes"),
        ("requests = []", "requests: is empty; write the name of a metric, in quotes"),
        ("requests = ['']", 'requests: metrics: is not text; write "..." or ["...", "..."]'),
        ("requests = {label = 'x'}", "requests: label: is not a key; take metric, metrics, where"),
        ("requests = {metric = 'x', where = 1}", "requests: where: is not a table; write where."),
        ("requests = {metric = 'x', where.a = ''}", 'requests: a: is not text; write "..."'),
        ("requests = {metric = 'x', unit = 's'}", "requests: unit: take one of none"),
        ("latency = {metric = 'x', unit = 'h'}", "latency: unit: take one of s, ms, us"),
        ("ports = [0]\nrequests = 'x'", "ports: is not a list of port numbers; write [8000]"),
        ("paths = ['metrics']\nrequests = 'x'", 'paths: holds what is no path; write ["/metrics"]'),
        ("ports = [8000]", "reads nothing; add at least one of requests, errors, prompt_tokens,"),
    ],
)
def test_file_when_something_is_wrong_then_it_says_where_and_what_to_write(
    line: str, problem: str
) -> None:
    with pytest.raises(FamiliesError) as caught:
        parse(f'[[family]]\nname = "mine"\n{line}\n', "families.toml")
    assert str(caught.value).startswith(f"families.toml: family 1 (mine): {problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[[family]", "family = 1", "families = []", "a = {", "[family]"])
def test_file_when_it_holds_no_families_then_it_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(FamiliesError) as caught:
        parse(text, "families.toml")
    assert str(caught.value).startswith("families.toml: ")
    assert "\n" not in str(caught.value)


def test_file_when_it_cannot_be_read_then_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(FamiliesError, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (1 << 19))
    with pytest.raises(FamiliesError, match="is larger than 256 KiB"):
        load(large)
    other = tmp_path / "other.toml"
    other.write_bytes(b"\xff\xfe")
    with pytest.raises(FamiliesError, match="is not UTF-8 text"):
        load(other)
