"""Windows out of counters: nothing twice, nothing negative, restarts counted from zero."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.serving.delta import SPARE, Counted
from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.histogram import MAX_BOUNDS, Histogram, added, from_buckets
from tests.serving.exposed import served, text_of


def tokens(**by_engine: int) -> bytes:
    lines = (f'vllm:prompt_tokens_total{{engine="{k}"}} {v}\n' for k, v in by_engine.items())
    return "".join(lines).encode()


def read(counted: Counted, text: bytes) -> int:
    return served(text, counted)[""].counts[Column.PROMPT_TOKENS]


def test_counter_when_it_rises_then_the_window_has_what_was_added() -> None:
    counted = Counted()
    assert [read(counted, tokens(a=n)) for n in (5, 5, 12)] == [5, 0, 7]


def test_counter_when_it_falls_then_it_began_anew_at_zero() -> None:
    counted = Counted()
    assert [read(counted, tokens(a=n)) for n in (100, 3, 4)] == [100, 3, 1]


def test_counter_when_one_of_two_series_begins_anew_then_the_other_goes_on() -> None:
    counted = Counted()
    read(counted, tokens(a=100, b=100))
    assert read(counted, tokens(a=101, b=2)) == 3


def test_series_when_it_comes_later_then_all_of_it_counts() -> None:
    counted = Counted()
    read(counted, tokens(a=100))
    assert read(counted, tokens(a=100, b=7)) == 7


def test_series_when_it_is_left_out_once_then_it_is_not_counted_again() -> None:
    counted = Counted()
    read(counted, tokens(a=100, b=50))
    read(counted, tokens(a=100))
    assert read(counted, tokens(a=100, b=51)) == 1


def test_series_when_they_change_without_end_then_few_are_remembered() -> None:
    counted = Counted()
    for number in range(500):
        read(counted, tokens(**{f"a{number}": 1, f"b{number}": 1}))
    assert counted.size <= 2 * 2 + SPARE + 2


def test_histogram_when_it_rises_then_each_bucket_has_what_was_added() -> None:
    counted = Counted()
    served(text_of("nim"), counted)
    later = text_of("nim").replace(b'le="1.0"} 97.0', b'le="1.0"} 99.0')
    later = later.replace(b'le="+Inf"} 97.0', b'le="+Inf"} 100.0').replace(b"6.5", b"7.75")
    later = later.replace(b'count{model_name="meta/llama-3.1-8b-instruct"} 97.0', b"count 100.0")
    [found] = served(later, counted).values()
    ttft = found.histograms[Column.TTFT]
    assert (ttft.upto_us, ttft.counts, ttft.sum_ms) == ((100_000, 1_000_000), (0, 2, 1), 1_250)


def test_errors_when_told_before_their_requests_then_no_more_than_these() -> None:
    counted = Counted()
    text = b'vllm:request_success_total{finished_reason="error"} %d\n'
    served(text % 4, counted)
    [found] = served(b"nv_inference_request_success 0\nnv_inference_request_failure 4\n").values()
    assert found.counts == {Column.REQUESTS: 4, Column.ERRORS: 4}
    [found] = served(b"tgi_request_count 1\ntgi_request_failure 4\n").values()
    assert found.counts == {Column.REQUESTS: 1, Column.ERRORS: 1}


def test_requests_when_only_latencies_are_counted_then_they_are_as_many() -> None:
    text = text_of("sglang").replace(b"sglang:num_requests_total", b"sglang:other")
    [found] = served(text).values()
    assert found.counts[Column.REQUESTS] == 11_228


COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=12)


@given(steps=st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=30))
def test_counter_when_a_server_restarts_at_any_time_then_the_windows_add_up(
    steps: list[tuple[int, bool]],
) -> None:
    """Restarts are told apart by the socket that is new; the same socket may count anew as well."""
    counted, value, total, booked = Counted(), 0, 0, 0
    for added_now, restarts in steps:
        if restarts:
            counted, value = Counted(), 0
        value += added_now
        total += added_now
        booked += read(counted, tokens(a=value))
    assert booked == total


@given(bounds=st.lists(st.floats(-1, 1e6), min_size=1, max_size=20), counts=COUNTS)
def test_buckets_when_they_are_any_then_nobody_is_lost(
    bounds: list[float], counts: list[int]
) -> None:
    cumulative: dict[float, int] = {}
    total = 0
    for bound, count in zip(sorted(set(bounds)), counts, strict=False):
        total += count
        cumulative[bound] = total
    found = from_buckets({**cumulative, float("inf"): total + 3}, total + 3, 0.0, 1_000_000)
    if found is None:
        assert not any(round(bound * 1_000_000) > 0 for bound in cumulative)
        return
    assert found.count == total + 3
    assert len(found.counts) == len(found.upto_us) + 1
    assert all(0 < lower < upper for lower, upper in pairwise(found.upto_us))
    for bound, count in cumulative.items():
        if bound * 1_000_000 >= 1:
            upto = round(bound * 1_000_000)
            below = sum(c for u, c in zip(found.upto_us, found.counts, strict=False) if u <= upto)
            assert below >= count


def test_buckets_when_they_contradict_themselves_then_there_is_no_histogram() -> None:
    assert from_buckets({1.0: 5, 2.0: 4}, 5, 0.0, 1) is None
    assert from_buckets({float("inf"): 4}, 4, 0.0, 1) is None
    assert from_buckets({}, 4, 0.0, 1) is None
    assert from_buckets({float(n): n for n in range(1, MAX_BOUNDS + 2)}, 300, 0.0, 1) is None
    assert from_buckets({float(n): n for n in range(1, MAX_BOUNDS + 1)}, 300, 0.0, 1) is not None


def test_buckets_when_bounds_are_the_same_in_microseconds_then_they_are_one() -> None:
    found = from_buckets({0.001: 1, 0.0010000001: 3, 1.0: 4}, 4, 0.25, 1_000_000)
    assert found == Histogram((1_000, 1_000_000), (3, 1, 0), 250)


def test_buckets_when_none_is_for_all_then_the_count_tells_how_many_are_above() -> None:
    found = from_buckets({1.0: 3}, 5, 0.0, 1_000_000)
    assert found is not None
    assert found.counts == (3, 2)


def test_buckets_when_the_sum_is_nonsense_then_it_is_zero() -> None:
    for total_sum in (float("nan"), float("inf"), -1.0):
        found = from_buckets({1.0: 1}, 1, total_sum, 1_000_000)
        assert found is not None
        assert found.sum_ms == 0


HISTOGRAMS = st.lists(
    st.builds(
        lambda bounds, counts: Histogram(
            tuple(sorted(bounds)), tuple((counts * 9)[: len(bounds) + 1]), sum(counts)
        ),
        st.sets(st.integers(1, 9), min_size=1, max_size=6),
        COUNTS,
    ),
    min_size=1,
    max_size=4,
)


@given(histograms=HISTOGRAMS)
def test_histograms_when_added_then_no_bucket_is_split_and_nobody_is_lost(
    histograms: list[Histogram],
) -> None:
    together = added(histograms)
    if together is None:
        assert not set.intersection(*(set(one.upto_us) for one in histograms))
        return
    assert together.count == sum(one.count for one in histograms)
    for at, upto in enumerate(together.upto_us, 1):
        each = [sum(one.counts[: one.upto_us.index(upto) + 1]) for one in histograms]
        assert sum(together.counts[:at]) == sum(each)


@given(histograms=HISTOGRAMS)
def test_histogram_when_it_begins_anew_then_nothing_is_negative(
    histograms: list[Histogram],
) -> None:
    for earlier, later in pairwise(histograms):
        since = later.since(earlier)
        assert min(since.counts) >= 0
        assert since.count <= later.count
