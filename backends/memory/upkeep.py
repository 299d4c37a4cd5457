"""ExportUpkeep of the memory backend: the janitor's side."""

from collections.abc import Sequence

from backends.memory.jobs import view_of
from backends.memory.leases import lease_alive
from backends.memory.state import JobRow, Process
from engine.model import ExportStatus, ExportView, JobId, RemovableExport


class MemoryExportUpkeep:
    """ExportUpkeep."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def removable(self, *, limit: int = 100) -> Sequence[RemovableExport]:
        """See ExportUpkeep."""
        return await self._process.look(lambda: self._removable()[:limit])

    async def purged(self, job: JobId) -> None:
        """See ExportUpkeep."""
        await self._process.effect(lambda: self._purge(job))

    async def find(self, job: JobId) -> ExportView | None:
        """See ExportUpkeep."""
        return await self._process.look(lambda: self._find(job))

    def _removable(self) -> list[RemovableExport]:
        return [
            RemovableExport(id=row.id, tenant=row.tenant.id, tenant_key=row.tenant.key)
            for row in self._world.jobs.values()
            if not row.purged and self._is_over(row) and not lease_alive(self._world, row)
        ]

    def _is_over(self, row: JobRow) -> bool:
        """Nobody may read its files any more."""
        if row.status is not ExportStatus.COMPLETE or row.deleted:
            return row.status.ended
        return row.expires_ms is not None and row.expires_ms <= self._world.clock.now_ms()

    def _purge(self, job: JobId) -> None:
        row = self._world.jobs.get(job)
        if row is None:
            return
        assert row.status.ended
        row.parts.clear()
        row.purged = True
        if row.deleted:
            del self._world.jobs[job]

    def _find(self, job: JobId) -> ExportView | None:
        row = self._world.jobs.get(job)
        return None if row is None else view_of(row)
