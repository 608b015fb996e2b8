"""The command `gpuledger report` as its users meet it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.store.client import StoreConfig
from tests.ledger_fleet import fill_an_hour
from tests.review_fleet import HOSTILE, PERIOD, Books
from tests.rule_fleet import ask, request

FORMATS = ("html", "markdown", "json", "csv")
GPULEDGER = "import sys; from gpuledger_collector.cli import main; main()"


def run(store: StoreConfig, *arguments: str) -> Result:
    flags = ("--clickhouse-url", store.url, "--database", store.database)
    return CliRunner().invoke(cli, ["report", *flags, *arguments])


@pytest.mark.parametrize("form", FORMATS)
def test_report_when_the_books_are_empty_then_it_says_so_and_shows_no_zero_as_a_fact(
    database: StoreConfig, form: str
) -> None:
    done = run(database, "--format", form)
    assert done.exit_code == 0, done.output
    assert "The books are empty: no telemetry has come in yet." in done.stderr
    if form in {"html", "markdown"}:
        assert "unknown" in done.stdout
        assert "books are empty" in done.stdout.replace("\\", "")
        assert "0 USD" not in done.stdout
    if form == "json":
        assert json.loads(done.stdout)["sections"]["books"]["rows"] == []


def test_report_when_a_team_has_asked_and_never_run_then_its_request_is_there(
    client: Client, database: StoreConfig
) -> None:
    fill_an_hour(client)
    ask(client, request("quiet", gpus=3, pool="production"))
    done = run(database, "--team", "quiet", "--since", "1h", "--format", "markdown")
    assert done.exit_code == 0, done.output
    assert "nothing of team quiet in this period" in done.stderr
    assert "quiet-request" in done.stdout.replace("\\", "")


@pytest.mark.parametrize("form", FORMATS)
def test_report_when_there_is_one_hour_of_data_then_every_format_is_made(
    client: Client, database: StoreConfig, form: str
) -> None:
    fill_an_hour(client)
    done = run(database, "--format", form)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert "1 of 168" in done.stdout or form in {"json", "csv"}


def test_report_when_the_team_is_unknown_then_one_line_names_those_there_are(
    review_books: Books,
) -> None:
    done = run(review_books.store, *PERIOD, "--team", "serch\x1b[2J")
    assert done.exit_code == 2
    line = done.stderr.splitlines()[-1]
    assert "--team serch\\x1b[2J: not in the books; there are search, " in line
    assert HOSTILE in line
    assert "\x1b" not in done.output


def test_report_when_the_team_is_unknown_in_empty_books_then_it_says_there_is_none(
    database: StoreConfig,
) -> None:
    done = run(database, "--team", "search")
    assert done.exit_code == 2
    assert "there are no teams in them yet" in done.stderr


def test_report_when_since_lies_in_the_future_then_exit_code_2_and_no_file(
    database: StoreConfig, tmp_path: Path
) -> None:
    done = run(database, "--since", "2999-01-01", "--output", str(tmp_path / "review.html"))
    assert done.exit_code == 2
    assert "lies in the future" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_when_clickhouse_is_down_then_exit_code_1_and_the_old_file_stays(
    tmp_path: Path,
) -> None:
    file = tmp_path / "review.html"
    file.write_text("last week's")
    done = subprocess.run(
        [sys.executable, "-c", GPULEDGER, "report", "--clickhouse-url", "http://127.0.0.1:9",
         "--output", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert file.read_text() == "last week's"
    assert list(tmp_path.iterdir()) == [file]


def test_output_when_a_file_is_there_then_it_is_replaced_at_once_through_a_link(
    review_books: Books, tmp_path: Path
) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    before = real.stat().st_ino
    with real.open() as reader:
        done = run(review_books.store, *PERIOD, "--format", "csv", "--output", str(link))
        assert (done.exit_code, done.stdout) == (0, "")
        # Who had the old one open still reads it, whole.
        assert reader.read() == "old"
    assert real.read_text().startswith("section,")
    assert (link.is_symlink(), real.stat().st_ino != before) == (True, True)
    assert sorted(tmp_path.iterdir()) == [link, real]


def test_output_when_the_file_is_new_then_its_mode_is_the_callers_umask(
    review_books: Books, tmp_path: Path
) -> None:
    file = tmp_path / "review.json"
    before = os.umask(0o027)
    try:
        assert run(review_books.store, "--format", "json", "--output", str(file)).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("place", ["missing/review.html", "."])
def test_output_when_it_cannot_be_written_then_one_line_and_exit_code_2(
    review_books: Books, tmp_path: Path, place: str
) -> None:
    done = run(review_books.store, "--format", "csv", "--output", str(tmp_path / place))
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith(f"Error: --output {tmp_path / place}: ")
    assert list(tmp_path.iterdir()) == []


def test_output_when_it_is_a_pipe_then_it_is_written_to_and_stays(
    review_books: Books, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        done = run(review_books.store, "--format", "csv", "--output", str(pipe))
        said, _ = reader.communicate(timeout=60)
    assert done.exit_code == 0, done.output
    assert said.startswith("section,")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_page_when_its_libraries_are_missing_then_one_line_says_what_to_install(
    review_books: Books,
) -> None:
    for library in ("jinja2", "matplotlib"):
        code = f"import sys; sys.modules['{library}'] = None; {GPULEDGER}"
        done = subprocess.run(
            [sys.executable, "-c", code, "report", *review_books.flags],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == (
            f"gpuledger: {library} is not installed: pip install 'gpuledger[report]',"
            " or take --format markdown\n"
        )


def test_page_when_its_user_has_no_home_then_it_is_made_and_nothing_is_complained_of(
    review_books: Books,
) -> None:
    home = {"HOME": "/proc/no-home", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "PATH": ""}
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", GPULEDGER, "report", *PERIOD, *review_books.flags],
        capture_output=True, text=True, check=True, env=home | path,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("</html>")


def test_libraries_of_the_page_when_another_format_is_asked_for_then_they_are_not_loaded(
    review_books: Books,
) -> None:
    code = (
        "import sys; from gpuledger_collector.cli import cli;"
        "from gpuledger_collector.commands import serve;"
        "cli.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'jinja2', 'matplotlib', 'numpy'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "report", "--format", "json", *review_books.flags],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] in {"[]", "['numpy']"}
