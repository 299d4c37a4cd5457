"""ExportWork of the memory backend: what the holder of a lease may do."""

from backends.memory.jobs import view_of
from backends.memory.leases import held, renewed
from backends.memory.state import JobRow, Process
from engine.errors import JobCancelled
from engine.model import ExportStatus, ExportView, FinalizedPart, Issue, Lease, Part


class MemoryExportWork:
    """ExportWork."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def view(self, lease: Lease) -> ExportView:
        """See ExportWork."""
        return await self._process.look(lambda: self._view(lease))

    async def save_plan(self, lease: Lease, plan: tuple[Part, ...]) -> None:
        """See ExportWork."""
        await self._process.effect(lambda: self._save_plan(lease, plan))

    async def record_part(self, lease: Lease, part: FinalizedPart) -> None:
        """See ExportWork."""
        await self._process.effect(lambda: self._record_part(lease, part))

    async def finish(self, lease: Lease, *, retention_s: float) -> None:
        """See ExportWork."""
        await self._process.effect(lambda: self._finish(lease, retention_s))

    async def fail(self, lease: Lease, issue: Issue) -> None:
        """See ExportWork."""
        await self._process.effect(lambda: self._fail(lease, issue))

    def _view(self, lease: Lease) -> ExportView:
        row = self._world.jobs.get(lease.job)
        if row is None:
            raise JobCancelled("the export was deleted")
        return view_of(row)

    def _save_plan(self, lease: Lease, plan: tuple[Part, ...]) -> None:
        renewed(self._world, lease).plan = plan

    def _record_part(self, lease: Lease, part: FinalizedPart) -> None:
        row = held(self._world, lease)
        places = {(other.kind, other.type, other.index) for other in row.parts.values()}
        assert part.number not in row.parts
        assert (part.kind, part.type, part.index) not in places
        renewed(self._world, lease)
        row.parts[part.number] = part

    def _finish(self, lease: Lease, retention_s: float) -> None:
        row = self._world.jobs.get(lease.job)
        if row is not None and _ended_by(row, lease, ExportStatus.COMPLETE):
            return
        row = self._end(lease, ExportStatus.COMPLETE)
        assert row.finished_ms is not None
        row.expires_ms = row.finished_ms + round(retention_s * 1000)

    def _fail(self, lease: Lease, issue: Issue) -> None:
        row = self._world.jobs.get(lease.job)
        if row is not None and _ended_by(row, lease, ExportStatus.ERROR):
            return
        self._end(lease, ExportStatus.ERROR).issue = issue

    def _end(self, lease: Lease, status: ExportStatus) -> JobRow:
        row = held(self._world, lease)
        row.status = status
        row.lease = None
        row.finished_ms = self._world.clock.now_ms()
        self._world.changed()
        return row


def _ended_by(row: JobRow, lease: Lease, status: ExportStatus) -> bool:
    """Whether this very lease ended the job so: nobody else ever has its token."""
    return row.status is status and row.token == lease.token
