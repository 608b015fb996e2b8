"""What a process was started with stays on its host, unless a rule asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.nvml_standin.world import Standin
from tests.scripted_collector import ScriptedCollector
from tests.test_agent_daemon import agent, log_of

ARGUMENT = "secret-in-argv-8231"
VARIABLE = "secret-in-environ-5077"


def test_agent_when_a_process_holds_secrets_then_neither_stream_spool_nor_log_has_them(
    standin: Standin, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "input()", ARGUMENT]
    env = os.environ | {"API_KEY": VARIABLE, "GPULEDGER_TEAM": "team-that-is-sent"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE) as holder:
        standin.add(0, holder.pid, 2048, sm=40)
        with ScriptedCollector() as collector, agent(standin, tmp_path, collector.address):
            session = collector.session()
            session.welcome()
            sent = b""
            while b"team-that-is-sent" not in sent:
                sent += session.hear().SerializeToString()
            spooled = b"".join(f.read_bytes() for f in (tmp_path / "spool").iterdir())
        assert holder.stdin is not None
        holder.stdin.close()
    assert b"team-that-is-sent" in spooled
    for secret in (ARGUMENT, VARIABLE):
        assert secret.encode() not in sent + spooled
        assert secret not in log_of(tmp_path)
