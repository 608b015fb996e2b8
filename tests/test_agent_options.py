"""Settings of the agent: where they come from, and what happens to wrong ones."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.config import DEFAULT_COLLECTOR, AgentConfig, ConfigError, host_port
from gpuledger_agent.dial import Trust
from gpuledger_agent.options import COLLECTORS, load_file, settings, settings_but
from gpuledger_agent.pem import PemFiles
from gpuledger_agent.settings_file import Refused


@click.group()
@click.option("--config", type=click.Path(path_type=Path), callback=load_file, is_eager=True,
              expose_value=False)  # fmt: skip
def agent() -> None:
    pass


@agent.command()
@settings
def run(config: AgentConfig, log_level: str) -> None:
    click.echo(f"{config.pool} {config.window_s} {config.collectors} {dict(config.labels)}")
    click.echo(f"{config.owner.team} {log_level}")


def invoke(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(agent, arguments, env=env or {})
    return result.exit_code, result.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(
        'insecure = true\ncollector = ["a:1", "b:2"]\npool = "from-file"\nwindow = 20\n'
        '[labels]\nrack = "r7"\n'
    )
    return path


def test_settings_when_only_in_the_file_then_they_count(file: Path) -> None:
    code, output = invoke("--config", str(file), "run")
    assert (code, output) == (0, "from-file 20 ('a:1', 'b:2') {'rack': 'r7'}\n info\n")


def test_settings_when_given_thrice_then_flag_beats_environment_beats_file(file: Path) -> None:
    env = {"GPULEDGER_AGENT_POOL": "from-env", "GPULEDGER_AGENT_TEAM": "search"}
    assert invoke("--config", str(file), "run", env=env)[1].startswith("from-env 20")
    code, output = invoke("--config", str(file), "run", "--pool", "from-flag", env=env)
    assert code == 0
    assert output.startswith("from-flag 20")
    assert "search info" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--window", "7"], "window 7 s: take a divisor of 60"),
        (["--window", "0"], "window 0 s"),
        (["--tick", "0"], "tick 0.0 s"),
        (["--tick", "nan"], "tick nan s"),
        (["--tick", "-1"], "tick -1.0 s"),
        (["--tick", "3"], "whole number of ticks"),
        (["--collector", "nowhere"], "write HOST:PORT"),
        (["--collector", "h:99999"], "write HOST:PORT"),
        (["--collector", "books.internal:7670"], "plaintext to books.internal:7670 would show"),
        (["--collector", "localhost:1", "--collector", "192.0.2.1:7670"], "to 192.0.2.1:7670"),
        (["--tls-cert", "c", "--tls-key", "k"], "TLS needs --tls-ca"),
        (["--tls-ca", "ca", "--tls-key", "k"], "needs both --tls-cert and --tls-key"),
        (["--tls-server-name", "n"], "--tls-server-name without TLS: give --tls-ca, too"),
        (["--metrics", ":1"], "write HOST:PORT"),
        (["--label", "rack"], "write NAME=VALUE"),
        (["--team", "a\nb"], "characters that do not print"),
        (["--pool", "x" * 200], "longer than"),
        (["--host", ""], "host ''"),
        (["--spool-max-mib", "0"], "at least 1 MiB"),
    ],
)
def test_settings_when_wrong_then_one_line_names_them(arguments: list[str], said: str) -> None:
    code, output = invoke("run", *arguments)
    assert code == 2
    assert said in output
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("polo = 'x'", "polo: no such setting"),
        ("pool = 3", "pool: 3 is not the kind"),
        ("window = true", "window: True is not the kind"),
        ("labels = { rack = 1 }", "labels:"),
        ("collector = [1]", "collector:"),
        ("pool = ,", "line 1"),
        ("window = 7", "window 7 s"),
    ],
)
def test_file_when_wrong_then_one_line_names_the_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    code, output = invoke("--config", str(path), "run")
    assert code == 2
    assert said in output
    assert output.count("\n") == 1


def test_file_when_missing_or_not_text_or_huge_then_refused(tmp_path: Path) -> None:
    assert "No such file" in invoke("--config", str(tmp_path / "none.toml"), "run")[1]
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert invoke("--config", str(binary), "run")[0] == 2
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (2 << 20))
    assert "no settings file" in invoke("--config", str(huge), "run")[1]


@given(st.text(max_size=40))
def test_host_port_when_any_text_then_parts_or_refusal(address: str) -> None:
    try:
        host, port = host_port(address)
    except ConfigError:
        return
    assert host
    assert 0 <= port <= 65535


def test_refusal_when_shown_then_exit_code_is_2() -> None:
    assert Refused("x").exit_code == 2


@agent.command()
@settings
def check(config: AgentConfig, log_level: str) -> None:
    click.echo(f"{config.scrape} {config.families[0].name} {log_level}")


def test_scraping_when_switched_off_anywhere_then_it_is(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("scrape = false\n")
    assert invoke("check") == (0, "True vllm info\n")
    assert invoke("check", "--no-scrape") == (0, "False vllm info\n")
    assert invoke("--config", str(file), "check") == (0, "False vllm info\n")
    assert invoke("--config", str(file), "check", "--scrape") == (0, "True vllm info\n")
    assert invoke("check", env={"GPULEDGER_AGENT_SCRAPE": "false"}) == (0, "False vllm info\n")
    file.write_text("scrape = 0\n")
    code, output = invoke("--config", str(file), "check")
    assert code == 2
    assert "scrape: 0 is not the kind of value that belongs here" in output


def test_families_when_a_file_is_given_then_they_come_first(tmp_path: Path) -> None:
    file = tmp_path / "families.toml"
    file.write_text('[[family]]\nname = "ours"\nrequests = "hits"\n')
    assert invoke("check", "--families", str(file)) == (0, "True ours info\n")
    file.write_text('[[family]]\nname = "ours"\n')
    code, output = invoke("check", "--families", str(file))
    assert code == 2
    assert output.count("\n") == 1
    assert "family 1 (ours): reads nothing; add at least one of requests, " in output


@pytest.mark.parametrize("address", ["127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_plaintext_when_it_stays_on_this_host_then_it_needs_no_flag(address: str) -> None:
    assert invoke("run", "--collector", address)[0] == 0


@pytest.mark.parametrize("more", [("--insecure",), ("--tls-ca", "ca.pem")])
def test_collector_when_beyond_this_host_then_it_needs_tls_or_a_flag(more: tuple[str, ...]) -> None:
    assert invoke("run", "--collector", "books.internal:7670")[0] == 2
    assert invoke("run", "--collector", "books.internal:7670", *more)[0] == 0


def test_tls_when_set_in_a_file_then_it_is_what_collectors_are_spoken_with(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        'tls_ca = "a"\ntls_cert = "c"\ntls_key = "k"\ntls_server_name = "n"\ntoken_file = "t"\n'
    )
    with click.Context(agent) as context:
        load_file(context, click.Option(["--config"]), file)
        made: list[AgentConfig] = []
        taken = click.command(settings(lambda config, log_level: made.append(config)))  # noqa: ARG005
        taken.main([], standalone_mode=False, default_map=context.default_map["run"])  # type: ignore[index]
    assert made[0].trust == Trust(PemFiles(Path("c"), Path("k"), Path("a")), "n", Path("t"))


def test_command_with_a_collector_of_its_own_when_tls_is_set_then_it_does_not_count() -> None:
    made: list[AgentConfig] = []
    own = settings_but(*COLLECTORS)(lambda config, log_level: made.append(config))  # noqa: ARG005
    env = {"GPULEDGER_AGENT_TLS_CA": "a", "GPULEDGER_AGENT_COLLECTOR": "books.internal:7670"}
    assert CliRunner().invoke(click.command(own), [], env=env).exit_code == 0
    assert (made[0].trust, made[0].collectors) == (Trust(), (DEFAULT_COLLECTOR,))
