"""What slurmctld says of jobs, by scontrol; left alone for a while when it does not answer."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gpuledger_agent.attribution import scontrol
from gpuledger_agent.attribution.base import QUERY_S, SourceError
from gpuledger_agent.attribution.scontrol import UnknownJobError
from gpuledger_agent.attribution.slurm_record import (
    Devices,
    Record,
    alone,
    pieces_per_gpu,
    record,
)
from gpuledger_agent.log import Once

RETRY_S = 60.0
"""How long scontrol is not run after it failed: a whole cluster asks the same slurmctld."""

WORTHWHILE_S = QUERY_S / 4
"""With less time left than this no question is begun."""

log = logging.getLogger(__name__)


class Controller:
    """Asks for jobs on the node of this name, its short host name."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._scontrol: Path | None = None
        self._quiet_until = 0.0
        self._once = Once(log)

    def present(self) -> bool:
        """Whether there is a scontrol to ask. Once found, it is the same one for good."""
        if self._scontrol is None:
            self._scontrol = scontrol.find()
        return self._scontrol is not None

    def job(self, job: str, until: float) -> Record | None:
        """A job, running or just ended; None if nobody can tell now, or it is unknown.

        `until` is of the monotonic clock. A job that Slurm knows, but whose record cannot be
        believed, is a record of nothing. Never raises.
        """
        now = time.monotonic()
        if not self.present() or now < self._quiet_until or until - now < WORTHWHILE_S:
            return None
        try:
            found = self._believed(job, until)
        except UnknownJobError:
            found = None
        except SourceError as error:
            self._quiet_until = time.monotonic() + RETRY_S
            self._once.warning(
                "fails",
                "event=scontrol_fails reason=%r jobs are booked by what their environments say",
                str(error),
            )
            return None
        self._once.over("fails", "event=scontrol_answers_again")
        return found

    def _believed(self, job: str, until: float) -> Record:
        text = self._show("job", job, until)
        found = record(text, self._host)
        if found is None and (question := alone(text, job)):
            found = record(self._show("job", question, until), self._host)
        if found is None or (job.isdigit() and found.number != job):
            return Record()
        return replace(found, devices=self._with_share(found.devices, until))

    def _with_share(self, devices: Devices, until: float) -> Devices:
        if not devices.pieces:
            return devices
        share = 1.0
        with suppress(UnknownJobError):
            text = self._show("node", devices.node, until)
            of = pieces_per_gpu(text, devices.kind) * len(devices.indices)
            share = devices.pieces / of if of else share
        return replace(devices, share=share if 0 < share <= 1 else 1.0)

    def _show(self, what: str, which: str, until: float) -> str:
        if self._scontrol is None:
            raise SourceError("scontrol is not on PATH")
        return scontrol.show(self._scontrol, what, "--details", which, until=until)
