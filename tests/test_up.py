"""`gpuledger up`: one machine's books, with all that its agent can be told."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gpuledger_agent import options
from gpuledger_collector.cli import cli
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.ledger_fleet import insert
from tests.notifier_fixture import KEY
from tests.notify_receivers import HttpReceiver
from tests.nvml_standin.world import Standin
from tests.test_agent_daemon import worker
from tests.test_store_owner import REQUESTS
from tests.uplink_fixture import free_port
from tests.waiting import wait_until

GPULEDGER = str(Path(sys.executable).parent / "gpuledger")

AGENT_TOML = """
collector = "nowhere.example:7670"
spool = "/proc/none/spool.sqlite"
rules = "{rules}"
host = "node-1"
pool = "from-file"
window = 1
tick = 0.25
health = "{health}"
metrics = ""
[labels]
rack = "r7"
"""


@pytest.fixture(autouse=True)
def no_usual_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine has in /etc is not these tests'."""
    monkeypatch.setattr(options, "DEFAULT_FILE", tmp_path / "usual.toml")


def refused(*arguments: str, **env: str) -> str:
    """What `up` says, without beginning anything, of settings that cannot work."""
    result = CliRunner().invoke(cli, arguments, env=env)
    assert result.exit_code == 2
    return result.output


def test_up_when_told_by_agent_toml_environment_and_flags_then_the_nearest_counts(
    tmp_path: Path,
) -> None:
    (tmp_path / "usual.toml").write_text("window = 7")
    assert "window 7 s: take a divisor" in refused("up")
    (tmp_path / "agent.toml").write_text("window = 8")
    file = ("--agent-config", str(tmp_path / "agent.toml"))
    assert "window 8 s" in refused("up", *file)
    assert "window 8 s" in refused("up", GPULEDGER_AGENT_CONFIG=file[1])
    (tmp_path / "c.toml").write_text("[up]\nwindow = 9")
    ours = ("--config", str(tmp_path / "c.toml"))
    assert "window 9 s" in refused(*ours, "up", *file)
    assert "window 11 s" in refused(*ours, "up", *file, GPULEDGER_AGENT_WINDOW="11")
    flag = ("--window", "13")
    assert "window 13 s" in refused(*ours, "up", *file, *flag, GPULEDGER_AGENT_WINDOW="11")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--agent-config", "{agent}"), "{agent}: polo: no such setting; take one of "),
        (("--rules-config", "{agent}"), "{agent}: polo: stands outside of a rule"),
        (("--notify", "{agent}"), "{agent}:1: polo: is no setting; take one of receiver, "),
        (("--notify", "{agent}.none"), "{agent}.none: cannot be read: No such file"),
        (("--rules", "{agent}"), "{agent}: polo: is not a setting; take [[rule]] or builtin"),
        (("--collector-metrics", "x"), "'x' is no address: write HOST:PORT"),
        (("--listen", ""), "'' is no address: write HOST:PORT"),
        (("--collector", "a:1"), "No such option '--collector'"),
        (("--spool", "x"), "No such option '--spool'"),
    ],
)
def test_up_when_a_setting_is_wrong_then_it_is_said(
    tmp_path: Path, arguments: tuple[str, str], said: str
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("polo = 'x'")
    flag, value = arguments
    assert said.format(agent=file) in refused("up", flag, value.format(agent=file))


def query(url: str, sql: str) -> object:
    with urlopen(f"{url}&query={sql.replace(' ', '%20')}%20FORMAT%20JSONCompact") as answer:
        return json.load(answer)["data"]


NOTIFY_TOML = """
[default]
receivers = ["portal"]
[receiver.portal]
type = "webhook"
url = "{url}/hook"
secret_file = "{key}"
"""


def lose_an_hour(directory: Path) -> None:
    """Leave books in which a host's telemetry has a gap, as those of an `up` that ended."""
    begun = datetime.now(UTC) - timedelta(hours=1)
    gap = {"ts": begun, "gap_s": 999, "host": "host-0", "reason": "disk"}
    with (
        EmbeddedServer(directory / "store") as server,
        connect(server.store, create_database=True) as client,
    ):
        migrate(client)
        insert(client, "telemetry_gaps_raw", [gap])


def test_up_when_given_files_and_flags_then_the_books_are_as_they_say_and_who_is_named_is_told(
    standin: Standin, receiver: HttpReceiver, tmp_path: Path
) -> None:
    lose_an_hour(tmp_path / "data")
    standin.raw.gpus = 1
    rules, file, health, metrics = tmp_path / "r", tmp_path / "f", free_port(), free_port()
    requests = tmp_path / "requests.yaml"
    rules.write_text('[[rule]]\nfallback = true\nmodel = "by-rule"\n')
    file.write_text(AGENT_TOML.format(rules=rules, health=health))
    (tmp_path / "key").write_text(KEY)
    notify = tmp_path / "notify.toml"
    notify.write_text(NOTIFY_TOML.format(url=receiver.url, key=tmp_path / "key"))
    env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
    command = [
        GPULEDGER, "up", "--agent-config", str(file), "--team", "by-flag", "--pool", "by-flag",
        "--metrics", metrics, "--data", str(tmp_path / "data"), "--port", "0",
        "--listen", "127.0.0.1:0", "--collector-metrics", "", "--notify", str(notify),
    ]  # fmt: skip
    with (
        worker() as held,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as up,
        ExitStack() as stack,
    ):
        stack.callback(up.kill)
        standin.add(0, held.pid, 512)
        assert up.stdout is not None
        found = next(filter(None, (re.search(r"curl '([^']+)'", line) for line in up.stdout)))
        declare = next(line for line in up.stdout if " requests apply " in line)
        requests.write_text(REQUESTS)
        told = shlex.split(declare.replace("requests.yaml", str(requests)))
        subprocess.run(told, check=True, stdout=subprocess.PIPE, env=env)
        assert query(found[1], "SELECT id, gpus FROM capacity_requests") == [["chat", 8]]
        who = "SELECT DISTINCT team, model, pool FROM process_usage"
        wait_until(lambda: query(found[1], who) == [["by-flag", "by-rule", "by-flag"]], 60)
        hosts = query(found[1], "SELECT host, labels FROM hosts")
        assert hosts == [["node-1", {"rack": "r7"}]]
        with urlopen(f"http://{metrics}/metrics") as page:
            assert "gpuledger_agent_gpus 1.0" in page.read().decode()
        with grpc.insecure_channel(health) as channel:
            asked = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        wait_until(lambda: bool(receiver.heard), 60)
        up.send_signal(signal.SIGTERM)
        up.stdout.read()
        assert up.wait(40) == 0
    assert (tmp_path / "data" / "spool.sqlite").exists()
    told = receiver.heard[0].json["data"]
    assert (told["rule"], told["subject"]) == ("telemetry_gap", "host-0")
