"""Slurm's jobs on this host, from their cgroups, scontrol and their environments.

scontrol asks slurmctld, whose word on account and GPUs is Slurm's own. Where there is no scontrol,
or it does not answer, the environment of one of the job's processes has to do. That is the user's:
whoever starts a job can say there that it is anybody's. Where chargeback matters, let the agent
find scontrol: of jobs that scontrol knows, environments only give the variables that rules ask for,
and the names of MIG instances, which scontrol merely counts; if this host has all of them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.attribution import slurm_cgroups
from gpuledger_agent.attribution.base import (
    QUERY_S,
    Kind,
    SourceError,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.attribution.labels import fitting
from gpuledger_agent.attribution.slurm_cgroups import JOB_ID
from gpuledger_agent.attribution.slurm_controller import Controller
from gpuledger_agent.attribution.slurm_hostlist import MAX_NUMBERS, numbers
from gpuledger_agent.attribution.slurm_record import Devices, Record
from gpuledger_agent.patience import Patience, StuckError

FACTS = {
    JOB_ID: "number",
    "SLURM_JOB_NAME": "job_name",
    "SLURM_JOB_USER": "user",
    "SLURM_JOB_ACCOUNT": "account",
    "SLURM_JOB_PARTITION": "partition",
    "SLURM_JOB_QOS": "qos",
}
"""Variable -> field of Record."""

GPUS = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
"""Variables that name GPUs as the node counts them. GPU_DEVICE_ORDINAL and CUDA_VISIBLE_DEVICES
count within the job where Slurm constrains devices (gres.html of Slurm's documentation)."""

INSTANCES = "CUDA_VISIBLE_DEVICES"
"""Variable in which Slurm gives MIG instances by name (unique_id in src/plugins/gres/common)."""

LABELS = {
    "slurm/account": "account",
    "slurm/partition": "partition",
    "slurm/job-name": "job_name",
    "slurm/user": "user",
    "slurm/qos": "qos",
}
"""Label -> field of Record."""


@dataclass(frozen=True, slots=True)
class _Environment:
    """A job's environment: what it says of the job, its MIG instances, what rules ask for."""

    said: Record
    instances: tuple[str, ...]
    wanted: Mapping[str, str]


@dataclass(slots=True)
class _Job:
    """What is known of a job so far; none of it changes while the job runs."""

    told: Record | None = None
    environment: _Environment | None = None
    looked: int = 0
    """How often its environment was looked for."""


class SlurmSource:
    """The jobs on this host. `wants` says which variables of their environments to keep.

    `cgroups` and `proc` are the roots of these file systems, `host` is this host's short name.
    """

    name = "slurm"

    def __init__(
        self,
        wants: Callable[[str], bool],
        cgroups: Path = Path("/sys/fs/cgroup"),
        proc: Path = Path("/proc"),
        host: str = "",
    ) -> None:
        self._wants = wants
        self._cgroups = cgroups
        self._proc = proc
        self._controller = Controller(host or socket.gethostname().partition(".")[0])
        self._patience = Patience()
        self._jobs: dict[str, _Job] = {}

    def present(self) -> bool:
        """Whether there is a scontrol, or cgroups as Slurm makes them."""
        return self._controller.present() or slurm_cgroups.present(self._cgroups)

    def workloads(self) -> Sequence[Workload]:
        """The jobs that have a cgroup here. Raises SourceError."""
        found = self._found()
        self._jobs = {job: self._jobs.get(job) or _Job() for job in found}
        until = time.monotonic() + QUERY_S
        # Jobs that hide their environment must not take all the time, always.
        order = sorted(found, key=lambda job: self._jobs[job].looked)
        return [self._look_up(job, found[job], until) for job in order]

    def workload(self, ref: WorkloadRef) -> Workload | None:
        """A job of this host; one that just ended, if it is still known. Raises SourceError."""
        if ref.kind is not Kind.SLURM_JOB or not slurm_cgroups.is_id(ref.id):
            return None
        until = time.monotonic() + QUERY_S
        groups = self._found().get(ref.id)
        if groups is not None:
            return self._look_up(ref.id, groups, until)
        known = self._jobs.get(ref.id) or _Job(self._controller.job(ref.id, until))
        return None if known == _Job() else _workload(ref.id, known)

    def close(self) -> None:
        """Nothing is open between calls."""

    def _found(self) -> dict[str, list[Path]]:
        try:
            return slurm_cgroups.jobs(self._cgroups)
        except OSError as error:
            raise SourceError(f"{self._cgroups}: {error.strerror or error}") from error

    def _look_up(self, job: str, groups: Sequence[Path], until: float) -> Workload:
        known = self._jobs.setdefault(job, _Job())
        if known.told is None:
            known.told = self._controller.job(job, until)
        if known.environment is None and time.monotonic() < until:
            known.looked += 1
            known.environment = self._environment(job, groups, until)
        return _workload(job, known)

    def _environment(self, job: str, groups: Sequence[Path], until: float) -> _Environment | None:
        def look() -> Mapping[str, str] | None:
            return slurm_cgroups.environment(job, groups, self._proc, self._reads, until)

        try:
            environ = self._patience.ask(job, look)
        except StuckError:
            return None
        if environ is None:
            return None
        wanted = {name: value for name, value in environ.items() if self._wants(name)}
        instances = tuple(environ.get(INSTANCES, "").split(",", MAX_NUMBERS))
        return _Environment(
            said=_said(environ),
            instances=instances if all(name.startswith("MIG-") for name in instances) else (),
            wanted=fitting(wanted),
        )

    def _reads(self, variable: str) -> bool:
        return variable in FACTS or variable in (*GPUS, INSTANCES) or self._wants(variable)


def _said(environ: Mapping[str, str]) -> Record:
    said = {field: environ.get(variable, "") for variable, field in FACTS.items()}
    gpus = next((environ[variable] for variable in GPUS if environ.get(variable)), "")
    return Record(**said, devices=Devices(indices=tuple(sorted(set(numbers(gpus))))))


def _workload(job: str, known: _Job) -> Workload:
    environment = known.environment or _Environment(Record(), (), {})
    record = environment.said if known.told is None else known.told
    labels = {label: getattr(record, field) for label, field in LABELS.items()}
    counted = tuple(map(str, record.devices.indices))
    named = environment.instances if len(environment.instances) == len(counted) else ()
    return Workload(
        kind=Kind.SLURM_JOB,
        id=job,
        name=record.number or job,
        labels={label: value for label, value in labels.items() if value},
        user=record.user,
        environ=environment.wanted,
        devices=named or counted,
        counted=counted if named else (),
        share=record.devices.share,
    )
