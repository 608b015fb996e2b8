"""What the agent says to an operator: one line a fault, whatever strangers put into it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.log import REMEMBERED, Once

SPEAKER = """
import json, logging, sys
from gpuledger_agent.log import configure
configure(sys.argv[1])
log = logging.getLogger("x")
for line in sys.stdin:
    message = json.loads(line)
    try:
        raise ValueError(message)
    except ValueError:
        log.exception("event=failed reason=%s", message)
    log.warning("event=told reason=%s", message)
    print("said", file=sys.stderr, flush=True)
"""

PREFIX = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ level=(\w+) ")


class Speaker:
    """A process that logs as the agent does: each message as a failure, then as a warning."""

    def __init__(self, level: str = "info", **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SPEAKER, level], env=os.environ | env,
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def say(self, message: str) -> list[str]:
        """The lines that became of it."""
        stdin, stderr = self.process.stdin, self.process.stderr
        assert stdin is not None
        assert stderr is not None
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()
        heard = b""
        while not heard.endswith(b"said\n"):
            line = stderr.readline()
            assert line, heard
            heard += line
        return heard.removesuffix(b"said\n").decode().splitlines()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def speaker() -> Iterator[Speaker]:
    speaking = Speaker()
    yield speaking
    speaking.close()


def test_line_when_plain_then_it_gives_time_level_and_the_message_as_it_is(
    speaker: Speaker,
) -> None:
    failed, told = speaker.say("größer, 太, 🙂")
    assert PREFIX.sub(r"\1 ", told) == "warning event=told reason=größer, 太, 🙂"
    assert PREFIX.sub(r"\1 ", failed).startswith("error event=failed reason=größer, 太, 🙂\\n")


@pytest.mark.parametrize(
    ("hostile", "escaped"),
    [
        ("a\nlevel=error event=forged", "a\\nlevel=error event=forged"),
        ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"),
        ("a\u2028b\u202ec\x85d\0", "a\\u2028b\\u202ec\\x85d\\x00"),
        ("name \udcff", "name \\udcff"),
    ],
)
def test_line_when_a_stranger_puts_control_characters_in_then_they_are_escaped(
    speaker: Speaker, hostile: str, escaped: str
) -> None:
    _, told = speaker.say(hostile)
    assert PREFIX.sub("", told) == f"event=told reason={escaped}"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=())))
def test_message_whatever_it_holds_then_it_is_one_printable_line(
    speaker: Speaker, message: str
) -> None:
    lines = speaker.say(message)
    assert len(lines) == 2
    assert all(line.isprintable() and PREFIX.match(line) for line in lines)
    assert "Traceback" in lines[0]


def test_line_when_the_terminal_knows_only_ascii_then_it_is_escaped_and_not_lost() -> None:
    ascii_only = Speaker(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    try:
        _, told = ascii_only.say("größer\n🙂")
        assert PREFIX.sub("", told) == "event=told reason=gr\\xf6\\xdfer\\n\\U0001f642"
    finally:
        ascii_only.close()


def test_level_when_set_to_error_then_warnings_are_not_said() -> None:
    terse = Speaker("error")
    try:
        [line] = terse.say("x")
        assert "level=error event=failed" in line
    finally:
        terse.close()


class Heard(logging.Handler):
    """What was logged, as (level, message)."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))


def listen() -> tuple[Once, list[tuple[str, str]]]:
    logger, heard = logging.Logger("apart"), Heard()  # noqa: LOG001  # each test its own
    logger.addHandler(heard)
    return Once(logger), heard.lines


def test_fault_when_it_lasts_then_its_beginning_and_its_end_are_logged_once() -> None:
    once, heard = listen()
    for _ in range(3):
        once.warning(("gpu", 1), "event=gpu_failed gpu=%d", 1)
    for _ in range(3):
        once.over(("gpu", 1), "event=gpu_back gpu=%d", 1)
    assert heard == [("WARNING", "event=gpu_failed gpu=1"), ("INFO", "event=gpu_back gpu=1")]


def test_fault_when_it_returns_then_it_is_logged_again() -> None:
    once, heard = listen()
    for _ in range(2):
        once.warning("link", "event=lost")
        once.over("link", "event=found")
    assert [message for _, message in heard] == ["event=lost", "event=found"] * 2


def test_fault_when_there_was_none_then_no_end_is_logged() -> None:
    once, heard = listen()
    once.over("link", "event=found")
    assert heard == []


def test_faults_when_more_than_are_remembered_then_the_oldest_is_forgotten() -> None:
    """Whoever can make up faults (a label per process) must not make the agent grow."""
    once, heard = listen()
    for number in range(REMEMBERED + 1):
        once.warning(number, "event=fault number=%d", number)
    assert len(heard) == REMEMBERED + 1
    once.warning(1, "event=fault number=%d", 1)
    assert len(heard) == REMEMBERED + 1
    once.over(0, "event=over number=%d", 0)
    assert len(heard) == REMEMBERED + 1
    once.warning(0, "event=fault number=%d", 0)
    assert heard[-1] == ("WARNING", "event=fault number=0")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_faults_whatever_their_course_then_each_change_is_logged_and_nothing_else(
    course: list[tuple[str, bool]],
) -> None:
    once, heard = listen()
    state: dict[str, bool] = {}
    changes = []
    for fault, failing in course:
        if failing:
            once.warning(fault, fault)
        else:
            once.over(fault, fault)
        if state.get(fault, False) != failing:
            changes.append(("WARNING" if failing else "INFO", fault))
        state[fault] = failing
    assert heard == changes


def test_log_when_stderr_is_the_journal_then_lines_bear_their_priority(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        env = os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        program = (
            "import logging; from gpuledger_agent.log import configure; configure('debug');"
            "[logging.log(level, 'x') for level in (10, 20, 30, 40, 50)]"
        )
        subprocess.run([sys.executable, "-c", program], stderr=stream, env=env, check=True)
    lines = (tmp_path / "stream").read_text().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<3>"]
    assert all(PREFIX.match(line[3:]) for line in lines)


def test_log_when_stderr_is_not_the_journal_any_more_then_lines_bear_none() -> None:
    elsewhere = Speaker(JOURNAL_STREAM="8:15")
    lines = elsewhere.say("plain")
    elsewhere.close()
    assert all(PREFIX.match(line) for line in lines)
