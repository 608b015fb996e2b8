"""Which inference servers of this host are read, how each was found, what it tells, why not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpuledger_agent.attribution.attributor import Attributor
from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.serving.discovery import Candidate, discover
from gpuledger_agent.serving.errors import ScrapeError
from gpuledger_agent.serving.families import Column, Family
from gpuledger_agent.serving.server import Server
from gpuledger_agent.serving.subjects import Subjects

PROC = Path("/proc")

CHECK_S = 30.0
"""How long all servers together may take; the rest is left out."""

_REMEDY = (
    "have it serve its metrics, say where they are (label gpuledger.io/metrics: PORT/PATH), or"
    " describe its family (--families)"
)


def servers(
    config: AgentConfig, attributor: Attributor, facts: Sequence[tuple[ProcessFacts, str]]
) -> Iterator[Check]:
    """One result for each server, and for each workload on a GPU that has none.

    `facts` are the processes on the GPUs, each with the name of its user.
    """
    if not config.scrape:
        yield Check(Verdict.OK, "servers", "are not read (scrape is off)")
        return
    subjects = Subjects()
    for one, user in facts:
        found = attributor.process(one, user)
        subjects.process(one, found, found.owner)
    for granted in attributor.granted():
        found = attributor.grant(granted)
        subjects.grant(granted.workload, found, found.owner)
    looked = discover(subjects.all(), config.families, PROC)
    for subject, why in looked.nothing:
        verdict = Verdict.WARN if subject.metrics and "left alone" not in why else Verdict.OK
        text = f"{subject.kind} {subject.workload} {why}"
        yield Check(verdict, "no server", text, _REMEDY if verdict is Verdict.WARN else "")
    until = time.monotonic() + CHECK_S
    for candidate in looked.candidates:
        if time.monotonic() < until:
            yield _asked(candidate, config.families)


def _asked(candidate: Candidate, families: Sequence[Family]) -> Check:
    server = Server(candidate, None, since=0.0, seen=0.0)
    subject = f"server {server.address}"
    whose = f"{candidate.subject.kind} {candidate.subject.workload}, found by {candidate.how}"
    try:
        reading = server.ask(families, PROC)
    except ScrapeError as error:
        return Check(Verdict.WARN, subject, f"{whose}: {error}", _REMEDY)
    told = "; ".join(f"{column} from {metric}" for column, metric in reading.matched.items())
    missing = [column for column in Column if column not in reading.matched]
    text = f"{whose}: {server.family} at {server.path}: {told}"
    if missing:
        text += f"; not told: {', '.join(missing)}"
    return Check(Verdict.OK, subject, text)
