"""From closed windows to the spool: attribution, encoding, and the agent's own health row."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Sequence

from gpuledger_agent.attribution.attributor import Attributor
from gpuledger_agent.encode import OwnedGpu, OwnedProcess, batches
from gpuledger_agent.meter import UNEXPLAINED
from gpuledger_agent.processes import ProcessFacts, ProcessTable
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessUse
from gpuledger_agent.spool import Spool

KEEP_FACTS_S = 120
"""How long facts of a process outlive its last sight; its last window closes well before."""


class Pipeline:
    """What happens to every closed window, in order. Used by one thread at a time.

    `host_pool` is the pool of workloads that name none. `user_name` turns a uid into a name.
    """

    def __init__(
        self,
        processes: ProcessTable,
        attributor: Attributor,
        spool: Spool,
        *,
        host_pool: str,
        user_name: Callable[[int], str],
    ) -> None:
        self._table = processes
        self._attributor = attributor
        self._spool = spool
        self._host_pool = host_pool
        self._user_name = user_name
        self.processes = 0
        self.unattributed = 0

    def attribute(self, uses: Sequence[GpuUse]) -> list[OwnedGpu]:
        """These windows with the owners of their processes."""
        owned = [OwnedGpu(use, tuple(self._own(p) for p in use.processes)) for use in uses]
        rows = [p for gpu in owned for p in gpu.processes]
        self.processes = len({p.use.key for p in rows})
        self.unattributed = len({p.use.key for p in rows if not p.owner.team})
        self._attributor.keep_only({p.use.key for p in rows})
        return owned

    def write(self, uses: Sequence[GpuUse], health: Sequence[HealthRow] = ()) -> None:
        """Attribute and encode these rows and put them on disk."""
        self.store(self.attribute(uses), health)

    def store(self, owned: Sequence[OwnedGpu], health: Sequence[HealthRow] = ()) -> None:
        """Encode these rows and put them on disk."""
        ends = [gpu.use.window.end for gpu in owned] + [row.window.end for row in health]
        if ends:
            self._spool.append(list(batches(owned, health)), max(ends))
            self._table.prune(max(ends) - KEEP_FACTS_S)

    def _own(self, use: ProcessUse) -> OwnedProcess:
        facts = self._table.facts(use.key)
        if facts is None or use.key == UNEXPLAINED:
            return OwnedProcess(use, "", "", self._unowned(), "process", "")
        owner = self._attributor.owner(facts)
        if not owner.pool:
            owner = Owner(
                owner.team,
                owner.model,
                owner.endpoint,
                owner.use_case,
                self._host_pool,
                owner.source,
            )
        return OwnedProcess(
            use=use,
            name=facts.name,
            user="" if facts.uid is None else self._user_name(facts.uid),
            owner=owner,
            workload_kind="process",
            workload=_workload(facts),
        )

    def _unowned(self) -> Owner:
        return Owner(pool=self._host_pool)


def _workload(facts: ProcessFacts) -> str:
    return f"{facts.name or 'pid'}[{facts.key.pid}]"


class UserNames:
    """Names of uids, each looked up once; the number itself where nobody knows a name."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def __call__(self, uid: int) -> str:
        """Name of the user with this uid."""
        name = self._names.get(uid)
        if name is None:
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError:
                name = str(uid)
            self._names[uid] = name
        return name
