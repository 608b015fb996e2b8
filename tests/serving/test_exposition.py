"""Texts that no good server answers with: they cost a figure, a scrape, never more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.serving.errors import REASONS, ScrapeError
from gpuledger_agent.serving.exposition import (
    MAX_LINE_BYTES,
    MAX_LINES,
    MAX_SAMPLES,
    MAX_WANTED_BYTES,
    samples,
)
from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.reading import MAX_MODELS
from tests.serving.exposed import reading_of, served, text_of

TOKENS = b"vllm:prompt_tokens_total"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def refusal(text: bytes, content_type: str = "text/plain") -> str:
    with pytest.raises(ScrapeError) as caught:
        reading_of(text, content_type=content_type)
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize(
    "value", ["NaN", "nan", "+Inf", "-Inf", "-1", "-0.5", "1e17", "9007199254740993"]
)
def test_counter_when_it_is_no_count_then_it_alone_is_left_out(value: str) -> None:
    text = text_of("vllm") + b'\nvllm:prompt_tokens_total{model_name="b"} ' + value.encode() + b"\n"
    assert served(text).keys() == served(text_of("vllm")).keys()
    assert served(text) == served(text_of("vllm"))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3", "1e300"])
def test_gauge_when_it_is_nonsense_then_it_alone_is_left_out(value: str) -> None:
    text = f"vllm:num_requests_running {value}\nvllm:num_requests_waiting 2\n".encode()
    assert served(text)[""].gauges == {Column.WAITING: 2}


def test_series_when_told_twice_then_it_counts_once() -> None:
    text = TOKENS + b'{a="1",b="2"} 7\n' + TOKENS + b'{b="2",a="1"} 7\n' + TOKENS + b'{a="2"} 1\n'
    assert served(text)[""].counts == {Column.PROMPT_TOKENS: 8}


@pytest.mark.parametrize(
    "line",
    [
        b'vllm:prompt_tokens_total{model_name="x} 1',
        b'vllm:prompt_tokens_total{model_name="a",model_name="b"} 1',
        b"vllm:prompt_tokens_total{",
        b"vllm:prompt_tokens_total one",
        b"vllm:prompt_tokens_total 1_000",
        b'vllm:prompt_tokens_total{="x"} 1',
    ],
)
def test_line_when_it_is_wanted_and_malformed_then_the_text_is_refused(line: bytes) -> None:
    assert refusal(text_of("vllm") + line + b"\n") == "malformed"


def test_line_when_it_is_not_wanted_then_it_may_be_anything() -> None:
    nonsense = b'# TYPE\n# HELP\nfoo{ 1 2 3\n\x00\xff{}\n}}}\n# TYPE foo foo bar\n{"x"} 1\n'
    assert served(nonsense + text_of("vllm")) == served(text_of("vllm"))


def test_text_when_it_is_no_utf_8_then_what_can_be_read_is() -> None:
    text = TOKENS + b'{model_name="\xff\xfe"} 5\n' + TOKENS + b'{model_name="\xc3\xa4"} 6\n'
    assert {model: one.counts for model, one in served(text).items()} == {
        "\ufffd\ufffd": {Column.PROMPT_TOKENS: 5},
        "ä": {Column.PROMPT_TOKENS: 6},
    }


def test_model_when_its_name_cannot_stand_in_the_books_then_another_stands_for_it() -> None:
    text = TOKENS + b'{model_name="' + b"x" * 500 + b'"} 5\n'
    [model] = served(text)
    assert len(model) <= 128
    assert model.startswith("xxx")


def test_models_when_there_are_too_many_then_the_rest_is_one_without_a_name() -> None:
    lines = (b'%s{model_name="m%d"} 1\n' % (TOKENS, number) for number in range(100))
    found = served(b"".join(lines))
    assert len(found) == MAX_MODELS + 1
    assert found[""].counts == {Column.PROMPT_TOKENS: 100 - MAX_MODELS}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"x 1\n" * (MAX_LINES + 1), "lines"),
        (b"".join(b'%s{a="%d"} 1\n' % (TOKENS, n) for n in range(MAX_SAMPLES + 1)), "series"),
        (TOKENS + b'{a="' + b"x" * MAX_LINE_BYTES + b'"} 1\n', "series, or long ones"),
        ((TOKENS + b'{a="' + b"x" * 4_000 + b'"} 1\n') * (MAX_WANTED_BYTES // 4_000), "long ones"),
        (TOKENS + b"{" + b'a="\\"' * 10_000, "long ones"),
    ],
)
def test_text_when_it_is_too_much_then_it_is_refused_before_it_is_parsed(
    text: bytes, why: str
) -> None:
    with pytest.raises(ScrapeError, match=why) as caught:
        samples(text, "text/plain", frozenset([TOKENS]))
    assert caught.value.reason == "too_many"


def test_text_when_a_million_series_are_of_no_interest_then_it_is_refused_all_the_same() -> None:
    assert refusal(b"".join(b"a%d 1\n" % number for number in range(1_000_000))) == "too_many"


OPEN = b"""# HELP vllm:prompt_tokens Tokens read.
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{model_name="a"} 17.0 # {trace_id="x"} 0.67 1520879607.789
vllm:prompt_tokens_created{model_name="a"} 1520872607.123
# TYPE other info
other_info{version="2"} 1
# TYPE vllm:time_to_first_token_seconds histogram
# UNIT vllm:time_to_first_token_seconds seconds
vllm:time_to_first_token_seconds_bucket{model_name="a",le="0.1"} 8.0 # {} 0.05
vllm:time_to_first_token_seconds_bucket{model_name="a",le="+Inf"} 9.0
vllm:time_to_first_token_seconds_count{model_name="a"} 9.0
vllm:time_to_first_token_seconds_sum{model_name="a"} 1.25
# EOF
"""


def test_text_when_it_is_openmetrics_then_exemplars_and_types_are_understood() -> None:
    reading = reading_of(OPEN, content_type=OPENMETRICS)
    assert reading is not None
    assert list(reading.counters.values()) == [17]
    [histogram] = reading.histograms.values()
    assert (histogram.counts, histogram.sum_ms) == ((8, 1), 1_250)


def test_text_when_it_is_malformed_openmetrics_then_it_is_refused() -> None:
    assert refusal(OPEN.replace(b'{model_name="a"} 17.0', b'{model_name="a"} -17.0'), OPENMETRICS)
    assert refusal(OPEN.replace(b'"} 8.0 #', b'"} 8.0 ##'), OPENMETRICS) == "malformed"


LINE = st.one_of(
    st.sampled_from(text_of("vllm").splitlines() + OPEN.splitlines()),
    st.binary(max_size=60).map(lambda tail: TOKENS + tail),
    st.text('vllm:prompt_tokens_total{}",=\\# le1e+-InfNa\t', max_size=80).map(str.encode),
    st.binary(max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(LINE, max_size=12), openmetrics=st.booleans())
def test_text_when_it_is_anything_then_it_is_read_or_refused(
    lines: list[bytes], openmetrics: bool
) -> None:
    content_type = OPENMETRICS if openmetrics else "text/plain"
    try:
        reading = reading_of(b"\n".join(lines), content_type=content_type)
    except ScrapeError as error:
        assert error.reason in REASONS
    else:
        for histogram in reading.histograms.values() if reading else ():
            assert min(histogram.counts) >= 0
