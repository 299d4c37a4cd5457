"""ExportWork on SQLite: what a worker does to its job, every time behind the fence.

The fence is an update of the job's row that names its token and worker, in the same
transaction as the effect and before it. Whoever was refused has changed nothing.
"""

from collections.abc import Mapping

import apsw
import msgspec

from backends.sqlite.control import SQL, Control, first_row, to_json
from backends.sqlite.jobs import view_of
from backends.sqlite.leases import held_by, renew, why_refused
from engine.errors import JobCancelled
from engine.model import ExportStatus, ExportView, FinalizedPart, Issue, Lease, Part


class SqliteExportWork:
    """See ExportWork."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def view(self, lease: Lease) -> ExportView:
        """See ExportWork.view. Raises JobCancelled if the job is forgotten."""
        view = await self._control.reads.read(view_of, lease.job)
        if view is None:
            raise JobCancelled("the export was deleted")
        return view

    async def save_plan(self, lease: Lease, plan: tuple[Part, ...]) -> None:
        """See ExportWork.save_plan. A second plan is a bug, and raises AssertionError."""
        await self._control.writes.write(self._save_plan, lease, plan)

    async def record_part(self, lease: Lease, part: FinalizedPart) -> None:
        """See ExportWork.record_part."""
        assert part.token <= lease.token, "a part comes from this lease or one before it"
        await self._control.writes.write(self._record_part, lease, part)

    async def finish(self, lease: Lease, *, retention_s: float) -> None:
        """See ExportWork.finish. The lease ends with the job."""
        await self._control.writes.write(self._finish, lease, retention_s)
        self._control.changes.wake_nowait()

    async def fail(self, lease: Lease, issue: Issue) -> None:
        """See ExportWork.fail. The lease ends with the job."""
        await self._control.writes.write(self._fail, lease, issue)
        self._control.changes.wake_nowait()

    def _save_plan(self, connection: apsw.Connection, lease: Lease, plan: tuple[Part, ...]) -> None:
        num = renew(connection, self._control, lease)
        connection.execute(SQL["add_plan"], {"num": num, "parts": to_json(plan)})
        estimate = sum(part.bytes_estimate for part in plan)
        values = {"num": num, "parts": len(plan), "bytes": estimate}
        connection.execute(SQL["measure_plan"], values)

    def _record_part(self, connection: apsw.Connection, lease: Lease, part: FinalizedPart) -> None:
        num = renew(connection, self._control, lease)
        connection.execute(SQL["add_part"], {"num": num} | _part_values(part))

    def _finish(self, connection: apsw.Connection, lease: Lease, retention_s: float) -> None:
        wall = self._control.clock.now_ms()
        end = {"wall": wall, "expires_ms": wall + round(retention_s * 1000)}
        self._end(connection, "finish", lease, ExportStatus.COMPLETE, end)

    def _fail(self, connection: apsw.Connection, lease: Lease, issue: Issue) -> None:
        end = {"wall": self._control.clock.now_ms(), "issue": to_json(issue)}
        self._end(connection, "fail", lease, ExportStatus.ERROR, end)

    def _end(
        self,
        connection: apsw.Connection,
        name: str,
        lease: Lease,
        status: ExportStatus,
        values: Mapping[str, object],
    ) -> None:
        connection.execute(SQL[name], {**held_by(lease), **values})
        if connection.changes() == 1:
            return
        row = first_row(connection, "standing", {"job": lease.job})
        # A token is given once, so the job that ended under ours was ended by us.
        mine = row is not None and row[0] == status and row[2] == lease.token
        if not mine:
            raise why_refused(connection, lease)


def _part_values(part: FinalizedPart) -> dict[str, object]:
    values = msgspec.structs.asdict(part)
    if values.pop("file") is None:
        names = ("location", "bytes", "sha256", "coding", "stored_bytes", "stored_sha256")
        return values | dict.fromkeys(names)
    assert part.file is not None
    return values | msgspec.structs.asdict(part.file)
