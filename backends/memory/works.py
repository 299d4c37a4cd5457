"""StoreWorks of the memory backend."""

from backends.memory.leases import renewed_work
from backends.memory.state import Process, WorkRow
from backends.memory.tenants import tenant_row
from engine.model import ExportStatus, Issue, JobId, Lease
from engine.tenant import TenantId
from engine.upkeep.ports import Standing, StoreWork, Task


class MemoryStoreWorks:
    """StoreWorks. Keeps every work."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def ask(self, tenant: TenantId, task: Task) -> StoreWork:
        """See StoreWorks."""
        return await self._process.effect(lambda: self._ask(tenant, task))

    async def find(self, tenant: TenantId, work: JobId) -> StoreWork | None:
        """See StoreWorks."""
        return await self._process.look(lambda: self._find(tenant, work))

    async def cancel(self, tenant: TenantId, work: JobId) -> None:
        """See StoreWorks."""
        await self._process.effect(lambda: self._cancel(tenant, work))

    async def save(self, lease: Lease, standing: Standing) -> None:
        """See StoreWorks."""
        await self._process.effect(lambda: self._save(lease, standing))

    async def end(self, lease: Lease, standing: Standing, *, issue: Issue | None = None) -> None:
        """See StoreWorks."""
        await self._process.effect(lambda: self._end(lease, standing, issue))

    def _ask(self, tenant: TenantId, task: Task) -> StoreWork:
        owner = tenant_row(self._process, tenant).tenant
        works = self._world.works
        alike = [
            row for row in works.values() if row.tenant == owner and type(row.task) is type(task)
        ]
        for row in alike:
            if not row.status.ended:
                return _shown(row)
        id = JobId(f"work-{len(works)}")  # none is ever removed
        token = max((row.token for row in alike), default=0)
        works[id] = WorkRow(id, owner, task, self._world.clock.now_ms(), token)
        self._world.changed()
        return _shown(works[id])

    def _find(self, tenant: TenantId, work: JobId) -> StoreWork | None:
        row = self._world.works.get(work)
        return None if row is None or row.tenant.id != tenant else _shown(row)

    def _cancel(self, tenant: TenantId, work: JobId) -> None:
        row = self._world.works.get(work)
        if row is not None and row.tenant.id == tenant and not row.status.ended:
            row.status = ExportStatus.CANCELLED
            row.finished_ms = self._world.clock.now_ms()
            self._world.changed()

    def _save(self, lease: Lease, standing: Standing) -> None:
        renewed_work(self._world, lease).standing = standing

    def _end(self, lease: Lease, standing: Standing, issue: Issue | None) -> None:
        row = renewed_work(self._world, lease)
        row.status = ExportStatus.COMPLETE if issue is None else ExportStatus.ERROR
        row.standing, row.issue, row.lease = standing, issue, None
        row.finished_ms = self._world.clock.now_ms()
        self._world.changed()


def _shown(row: WorkRow) -> StoreWork:
    return StoreWork(
        id=row.id,
        tenant=row.tenant.id,
        task=row.task,
        status=row.status,
        standing=row.standing,
        created_ms=row.created_ms,
        finished_ms=row.finished_ms,
        worker=None if row.lease is None else row.lease.worker,
        reason=row.reason,
        issue=row.issue,
    )
