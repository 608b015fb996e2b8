"""`gpuledger notify`, and `gpuledger serve --notify`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.ledger.notify.kinds import KINDS
from gpuledger_collector.store.client import StoreConfig
from tests.notifier_fixture import KEY
from tests.notify_receivers import HttpReceiver, SmtpReceiver
from tests.waiting import wait_until

GPULEDGER = str(Path(sys.executable).parent / "gpuledger")
PAGE = (Path(__file__).parent.parent / "docs" / "notifications.md").read_text()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["notify", *arguments])


@pytest.fixture
def file(receiver: HttpReceiver, smtp: SmtpReceiver, tmp_path: Path) -> Path:
    """A notify file with a receiver of every kind."""
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "url").write_text(f"{receiver.url}/services/s3cret\n")
    path = tmp_path / "notify.toml"
    path.write_text(
        f"""
        [default]
        receivers = ["webhook"]
        [receiver.webhook]
        type = "webhook"
        url = "{receiver.url}/hook"
        secret_file = "{tmp_path}/key"
        [receiver.slack]
        type = "slack"
        url_file = "{tmp_path}/url"
        [receiver.alertmanager]
        type = "alertmanager"
        url = "{receiver.url}"
        [receiver.email]
        type = "email"
        host = "127.0.0.1"
        port = {smtp.port}
        tls = "none"
        from = "books@example.com"
        to = ["ann@example.com"]
        """
    )
    return path


def test_check_when_the_file_is_right_then_it_says_so_and_sends_nothing(
    file: Path, receiver: HttpReceiver
) -> None:
    result = run("check", str(file))
    told = f"{file}: 1 routes, nothing wrong; receivers: webhook, slack, alertmanager, email\n"
    assert (result.exit_code, result.output) == (0, told)
    assert receiver.heard == []


@pytest.mark.parametrize("command", [["check"], ["test", "chat", "--notify"]])
def test_notify_when_the_file_is_wrong_then_each_fault_has_a_line_and_the_exit_code_is_2(
    tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "notify.toml"
    path.write_text('[receiver.chat]\ntype = "slack"\n')
    result = run(*command, str(path))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{path}: default: is missing; write [default] and receivers, [] for nobody",
        f"{path}:1: [receiver.chat] url_file: is missing; write url_file",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_test_when_the_receiver_takes_it_then_its_message_is_marked_as_a_test(
    file: Path, receiver: HttpReceiver, smtp: SmtpReceiver, kind: str
) -> None:
    result = run("test", kind, "--notify", str(file))
    assert (result.exit_code, result.output) == (0, f"{kind} has taken it\n")
    [said] = [h.body for h in receiver.heard] + [content for _, _, content in smtp.mails]
    assert b"TEST, nothing was found" in said or b'"test":true' in said


def test_test_when_the_receiver_does_not_take_it_then_one_line_says_why_and_nothing_secret(
    file: Path, receiver: HttpReceiver
) -> None:
    receiver.answer(404, b"no_service")
    done = subprocess.run(
        [GPULEDGER, "notify", "test", "slack", "--notify", str(file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"gpuledger: slack: {receiver.url}: answers 404 Not Found (no_service)\n"
    )


def test_test_when_nobody_is_called_so_then_it_names_those_there_are(file: Path) -> None:
    result = run("test", "pager", "--notify", str(file))
    assert result.exit_code == 2
    assert "has no receiver 'pager'; take one of webhook, slack, alertmanager" in result.output


def test_test_when_the_settings_name_the_file_then_no_flag_is_needed(
    file: Path, receiver: HttpReceiver, tmp_path: Path
) -> None:
    settings = tmp_path / "collector.toml"
    settings.write_text(f'notify = "{file}"\n')
    result = CliRunner().invoke(cli, ["--config", str(settings), "notify", "test", "slack"])
    assert result.exit_code == 0
    assert len(receiver.heard) == 1


def test_serve_when_the_notify_file_is_wrong_then_it_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "notify.toml"
    path.write_text("[default]\n")
    result = CliRunner().invoke(cli, ["serve", "--notify", str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:1: [default] receivers: is missing")


def test_serve_when_a_rule_finds_something_then_the_receiver_hears_of_it(
    database: StoreConfig, client: Client, file: Path, receiver: HttpReceiver
) -> None:
    """The whole way, as an operator runs it: telemetry, rule, finding, message."""
    client.command(
        "INSERT INTO telemetry_gaps_raw (ts, gap_s, host, reason)"
        " SELECT now() - 3600, 999, '<h1>', 'disk'"
    )
    command = [
        GPULEDGER, "serve", "--clickhouse-url", database.url, "--database", database.database,
        "--listen", "127.0.0.1:0", "--metrics", "", "--notify", str(file),
    ]  # fmt: skip
    serving = subprocess.Popen(command)
    try:
        wait_until(lambda: bool(receiver.heard), 60)
    finally:
        serving.terminate()
        assert serving.wait(60) == 0
    [heard] = receiver.heard
    assert heard.json["type"] == "finding.opened"
    data = heard.json["data"]
    assert (data["rule"], data["subject"], data["team"]) == ("telemetry_gap", "<h1>", "")
    assert data["remedy"].startswith("On the host, look at gpuledger-agent check")
    sent = "SELECT state FROM notifications"
    assert client.query(sent).result_rows == [("sent",)]
    ended = "SELECT argMax(until, said_at) <= now64(6) FROM notifier_leases"
    assert client.query(ended).result_rows == [(1,)]


def test_page_when_it_shows_a_file_then_that_is_right(tmp_path: Path) -> None:
    [example] = re.findall(r"(?m)^    # notify.toml\n((?:    .*\n|\n)+)", PAGE)
    text = re.sub(r"(?m)^    ", "", example)
    for name, content in {"key": KEY, "url": "https://hooks.example.com/x\n", "pw": "p\n"}.items():
        (tmp_path / name).write_text(content)
        text = text.replace(f"/run/secrets/{name}", f"{tmp_path}/{name}")
    path = tmp_path / "notify.toml"
    path.write_text(text)
    result = run("check", str(path))
    assert result.exit_code == 0, result.output
    assert {f'type = "{kind}"' in text for kind in KINDS} == {True}
