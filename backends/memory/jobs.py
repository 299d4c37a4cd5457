"""ExportJobs of the memory backend: the side of the web."""

from collections.abc import Sequence

from backends.memory.state import JobRow, Process
from backends.memory.tenants import tenant_row
from engine.errors import NotFound, TooMany
from engine.model import (
    ExportJob,
    ExportStatus,
    ExportView,
    FileKind,
    FinalizedPart,
    JobId,
    NewExport,
    Progress,
)
from engine.tenant import TenantId

RETRY_AFTER_SECONDS = 60


class MemoryExportJobs:
    """ExportJobs."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def start(self, job: NewExport, *, open_max: int) -> ExportJob:
        """See ExportJobs."""
        return await self._process.effect(lambda: self._start(job, open_max))

    async def get(self, tenant: TenantId, job: JobId) -> ExportJob:
        """See ExportJobs."""
        return await self._process.look(lambda: shown(self._row(tenant, job)))

    async def list(self, tenant: TenantId | None, *, limit: int = 100) -> Sequence[ExportJob]:
        """See ExportJobs."""
        return await self._process.look(lambda: self._list(tenant)[:limit])

    async def parts(self, tenant: TenantId, job: JobId) -> Sequence[FinalizedPart]:
        """See ExportJobs."""
        return await self._process.look(lambda: _with_file(self._row(tenant, job)))

    async def part(
        self, tenant: TenantId, job: JobId, kind: FileKind, type: str, index: int
    ) -> FinalizedPart:
        """See ExportJobs."""
        parts = await self.parts(tenant, job)
        for part in parts:
            if (part.kind, part.type, part.index) == (kind, type, index):
                return part
        raise NotFound("there is no such file")

    async def cancel(self, tenant: TenantId, job: JobId) -> ExportJob:
        """See ExportJobs."""
        return await self._process.effect(lambda: shown(self._cancel(tenant, job)))

    async def delete(self, tenant: TenantId, job: JobId) -> None:
        """See ExportJobs."""
        await self._process.effect(lambda: self._delete(tenant, job))

    def _start(self, new: NewExport, open_max: int) -> ExportJob:
        assert new.id not in self._world.jobs  # ids are random: the same one again is a bug
        tenant = tenant_row(self._process, new.tenant).tenant
        rows = self._world.jobs.values()
        if sum(row.tenant == tenant and not row.status.ended for row in rows) >= open_max:
            raise TooMany(
                f"{open_max} exports of this tenant are open already; wait for one to end",
                retry_after_s=RETRY_AFTER_SECONDS,
            )
        row = JobRow(new.id, tenant, new.request, new.snapshot, self._world.clock.now_ms())
        self._world.jobs[new.id] = row
        self._world.changed()
        return shown(row)

    def _list(self, tenant: TenantId | None) -> Sequence[ExportJob]:
        return [
            shown(row)
            for row in reversed(self._world.jobs.values())
            if not row.deleted and tenant in (None, row.tenant.id)
        ]

    def _cancel(self, tenant: TenantId, job: JobId) -> JobRow:
        row = self._row(tenant, job)
        if not row.status.ended:
            # The lease stays: its worker may still be writing, and the janitor must wait.
            row.status = ExportStatus.CANCELLED
            row.finished_ms = self._world.clock.now_ms()
            self._world.changed()
        return row

    def _delete(self, tenant: TenantId, job: JobId) -> None:
        row = self._cancel(tenant, job)
        row.deleted = True
        if row.purged:
            del self._world.jobs[job]  # nothing is left to remove
        self._world.changed()

    def _row(self, tenant: TenantId, job: JobId) -> JobRow:
        row = self._world.jobs.get(job)
        if row is None or row.deleted or row.tenant.id != tenant:
            raise NotFound("there is no such export")
        return row


def shown(row: JobRow) -> ExportJob:
    """The row as others see it."""
    return ExportJob(
        id=row.id,
        tenant=row.tenant.id,
        tenant_key=row.tenant.key,
        status=row.status,
        request=row.request,
        snapshot=row.snapshot,
        created_ms=row.created_ms,
        finished_ms=row.finished_ms,
        expires_ms=row.expires_ms,
        attempt=row.attempt,
        token=row.token,
        reason=row.reason,
        issue=row.issue,
        progress=_progress(row),
    )


def view_of(row: JobRow) -> ExportView:
    """The row as a worker and the janitor need it."""
    return ExportView(job=shown(row), plan=row.plan, recorded=_in_order(row))


def _progress(row: JobRow) -> Progress:
    plan, parts = row.plan or (), row.parts.values()
    return Progress(
        parts_done=len(parts),
        parts_total=len(plan),
        rows_done=sum(part.rows for part in parts),
        bytes_done=sum(part.file.bytes for part in parts if part.file is not None),
        bytes_estimate=sum(part.bytes_estimate for part in plan),
    )


def _in_order(row: JobRow) -> tuple[FinalizedPart, ...]:
    return tuple(row.parts[number] for number in sorted(row.parts))


def _with_file(row: JobRow) -> list[FinalizedPart]:
    return [part for part in _in_order(row) if part.file is not None]
