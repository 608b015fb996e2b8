"""Slurm's jobs on this host, by their cgroups, and the environments of their processes.

v1  CONTROLLER/slurm[_NODE]/uid_U/job_J/step_S          src/plugins/cgroup/v1/cgroup_v1.c
v2  SLICE/[NODE_]slurmstepd.scope/job_J/step_S/...      src/plugins/cgroup/v2/cgroup_v2.c
    Slurm 26.05 names the job's cgroup by its SLUID instead, unless CgroupJobIdPaths=yes
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from gpuledger_agent.attribution.base import MAX_WORKLOADS
from gpuledger_agent.environ import ENVIRON_LIMIT, variables

SCOPES = ("*/slurm*/uid_*", "*slurmstepd.scope", "*.slice/*slurmstepd.scope",
          "*.slice/*.slice/*slurmstepd.scope")  # fmt: skip
"""Where the cgroups of jobs lie, below the root of all cgroups."""

MAX_GROUPS = 64
"""Cgroups of one job that are searched for a process."""

MAX_PROCESSES = 64
"""Processes of one job whose environment is looked at."""

JOB_ID = "SLURM_JOB_ID"

_PIDS_LIMIT = 1 << 16

_JOB = re.compile(r"job_(\d{1,10})|(s[0-9A-Z]{13})", re.ASCII)
_SLUID = re.compile(r"s[0-9A-Z]{13}", re.ASCII)


def is_id(text: str) -> bool:
    """Whether this can be a job's: a number, or a SLUID."""
    return _JOB.fullmatch(f"job_{text}") is not None or _SLUID.fullmatch(text) is not None


def present(root: Path) -> bool:
    """Whether there is a place for cgroups of jobs. Never raises."""
    try:
        return any(True for scope in SCOPES for _ in root.glob(scope.removesuffix("/uid_*")))
    except OSError:
        return False


def jobs(root: Path) -> dict[str, list[Path]]:
    """Job -> its cgroups (one for each controller that Slurm uses), at most MAX_WORKLOADS jobs.

    Those that root, or who runs the agent, did not make are not Slurm's: users can make cgroups
    below their own. Raises OSError.
    """
    found: dict[str, list[Path]] = {}
    for scope in SCOPES:
        for group in root.glob(f"{scope}/*"):
            match = _JOB.fullmatch(group.name)
            if match and _is_slurms(group):
                job = match[1] or match[2]
                if job in found or len(found) < MAX_WORKLOADS:
                    found.setdefault(job, []).append(group)
    return found


def environment(
    job: str, groups: Sequence[Path], proc: Path, wants: Callable[[str], bool], until: float
) -> Mapping[str, str] | None:
    """Environment of a process of the job as it was started, the batch script's if there is one.

    Of it the variables that are wanted. None while the job has no process that says it is of this
    job, or none was found `until` then, by the monotonic clock; a process that does not let itself
    be read keeps this waiting for longer. Never raises.
    """
    for pid in islice(_pids(groups), MAX_PROCESSES):
        if time.monotonic() >= until:
            break
        found = _environ(proc / str(pid), lambda name: name == JOB_ID or wants(name))
        # slurmstepd, which is among them, wipes its own; and a pid may be another's by now.
        if found.get(JOB_ID) == job or (_SLUID.fullmatch(job) and JOB_ID in found):
            return found
    return None


def _is_slurms(group: Path) -> bool:
    try:
        return group.is_dir() and group.stat().st_uid in (0, os.geteuid())
    except OSError:
        return False


def _pids(groups: Sequence[Path]) -> Iterator[int]:
    for group in groups:
        for directory in islice(_below(group), MAX_GROUPS):
            try:
                with (directory / "cgroup.procs").open("rb") as file:
                    words = file.read(_PIDS_LIMIT).split()
            except OSError:
                continue
            yield from (int(word) for word in words if word.isdigit() and len(word) < 10)


def _below(group: Path) -> Iterator[Path]:
    """The job's cgroup and those of its steps, the batch script's first."""
    for path, directories, _ in os.walk(group):
        directories.sort(key=lambda name: (name != "step_batch", name))
        yield Path(path)


def _environ(process: Path, wants: Callable[[str], bool]) -> dict[str, str]:
    try:
        with (process / "environ").open("rb") as file:
            return variables(file.read(ENVIRON_LIMIT), wants)
    except OSError:
        return {}
