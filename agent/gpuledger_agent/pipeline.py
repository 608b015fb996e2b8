"""From closed windows to the spool: attribution, encoding, and the agent's own health row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from gpuledger_agent.allocation import Claim, allot
from gpuledger_agent.attribution.attributor import Attribution, Attributor
from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.attribution.catalogue import Granted
from gpuledger_agent.attribution.grants import Resolver
from gpuledger_agent.devices.base import GpuInfo
from gpuledger_agent.encode import OwnedGpu, OwnedGrant, OwnedProcess, batches
from gpuledger_agent.log import Once
from gpuledger_agent.meter import UNEXPLAINED
from gpuledger_agent.processes import ProcessFacts, ProcessTable
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessUse
from gpuledger_agent.serving.subjects import Subject, Subjects
from gpuledger_agent.serving.traffic import Traffic
from gpuledger_agent.spool import Spool

log = logging.getLogger(__name__)

KEEP_FACTS_S = 120
"""How long facts of a process outlive its last sight; its last window closes well before. GPUs
likewise: grants of one that fell silent are not unknown at once."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who was granted a GPU, and by which source."""

    kind: str
    workload: str
    source: str


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
        self._gpus: dict[str, tuple[GpuInfo, int]] = {}
        self._resolver = Resolver()
        self._gathered = Subjects()
        self._once = Once(log)
        self.processes = 0
        self.unattributed = 0
        self.grants = 0
        self.grants_unresolved = 0

    def attribute(self, uses: Sequence[GpuUse]) -> list[OwnedGpu]:
        """These windows with the owners of their processes and grants."""
        self._attributor.settle()
        if uses:
            self._gathered = Subjects()
        granted = self._attributor.granted()
        holders, claims = self._claims(uses, granted)
        owned = [
            OwnedGpu(
                use,
                tuple(self._own(p) for p in use.processes),
                self._allot(use, claims.get(use.gpu.uuid, ()), holders),
            )
            for use in uses
        ]
        rows = [p for gpu in owned for p in gpu.processes]
        self.processes = len({p.use.key for p in rows})
        self.unattributed = len({p.use.key for p in rows if not p.owner.team})
        self._attributor.keep_only({p.use.key for p in rows}, granted)
        return owned

    def subjects(self) -> tuple[Subject, ...]:
        """The workloads that the latest windows were attributed to, as they may be serving."""
        return self._gathered.all()

    def write(self, uses: Sequence[GpuUse], health: Sequence[HealthRow] = ()) -> None:
        """Attribute and encode these rows and put them on disk."""
        self.store(self.attribute(uses), health)

    def store(
        self,
        owned: Sequence[OwnedGpu],
        health: Sequence[HealthRow] = (),
        traffic: Sequence[Traffic] = (),
    ) -> None:
        """Encode these rows and put them on disk."""
        ends = [gpu.use.window.end for gpu in owned]
        # The agent's own row says nothing of what became of the GPUs.
        self._spool.append(list(batches(owned, health, traffic)), max(ends, default=0))
        if ends:
            self._table.prune(max(ends) - KEEP_FACTS_S)

    def _own(self, use: ProcessUse) -> OwnedProcess:
        facts = self._table.facts(use.key)
        if facts is not None and use.key != UNEXPLAINED:
            try:
                return self._owned(use, facts)
            except Exception as error:  # noqa: BLE001  # what one says of itself costs no other
                self._not_attributed(use.key, f"pid {use.key.pid}", error)
        return OwnedProcess(use, "", "", Owner(pool=self._host_pool), Kind.PROCESS, "")

    def _owned(self, use: ProcessUse, facts: ProcessFacts) -> OwnedProcess:
        user = "" if facts.uid is None else self._user_name(facts.uid)
        found = self._attributor.process(facts, user)
        owner = self._pooled(found.owner)
        self._gathered.process(facts, found, owner)
        return OwnedProcess(use, facts.name, user, owner, found.kind, found.workload)

    def _not_attributed(self, key: Hashable, who: str, error: Exception) -> None:
        self._once.warning(key, "event=not_attributed who=%r error=%r", who, error)

    def _pooled(self, owner: Owner) -> Owner:
        return owner if owner.pool else replace(owner, pool=self._host_pool)

    def _claims(
        self, uses: Sequence[GpuUse], all_granted: Sequence[Granted]
    ) -> tuple[dict[_Holder, Attribution], dict[str, list[Claim[_Holder]]]]:
        """Who holds grants, and what each GPU was granted to, by UUID."""
        gpus = self._inventory(uses)
        holders: dict[_Holder, Attribution] = {}
        claims: dict[str, list[Claim[_Holder]]] = {}
        unresolved = 0
        resolved = self._resolver.resolve([granted.workload for granted in all_granted], gpus)
        for granted, (grants, unknown) in zip(all_granted, resolved, strict=True):
            unresolved += len(unknown)
            try:
                found = self._attributor.grant(granted)
            except Exception as error:  # noqa: BLE001  # as with processes
                workload = granted.workload
                key = workload.kind, workload.id, workload.name
                self._not_attributed(key, f"{workload.kind} {workload.name}", error)
                unresolved += 1
                continue
            holder = _Holder(found.kind, found.workload, granted.source)
            holders[holder] = found
            self._gathered.grant(granted.workload, found, self._pooled(found.owner))
            for grant in grants:
                claim = Claim(holder, grant.share, granted.since, granted.until)
                claims.setdefault(grant.gpu, []).append(claim)
        self.grants, self.grants_unresolved = len(holders), unresolved
        return holders, claims

    def _inventory(self, uses: Sequence[GpuUse]) -> list[GpuInfo]:
        """The GPUs of this host, those included that gave no window just now."""
        for use in uses:
            self._gpus[use.gpu.uuid] = (use.gpu, use.window.end)
        newest = max((end for _, end in self._gpus.values()), default=0)
        for uuid, (_, end) in list(self._gpus.items()):
            if end < newest - KEEP_FACTS_S:
                del self._gpus[uuid]
        return [gpu for gpu, _ in self._gpus.values()]

    def _allot(
        self,
        use: GpuUse,
        claims: Sequence[Claim[_Holder]],
        holders: Mapping[_Holder, Attribution],
    ) -> tuple[OwnedGrant, ...]:
        return tuple(
            OwnedGrant(
                owner=self._pooled(holders[part.who].owner),
                workload_kind=part.who.kind,
                workload=part.who.workload,
                source=part.who.source,
                share_milli=part.share_milli,
                granted_ms=part.granted_ms,
                unheld_ms=part.unheld_ms,
            )
            for part in allot(use, claims)
            if part.granted_ms
        )
