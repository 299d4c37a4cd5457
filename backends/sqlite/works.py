"""StoreWorks on SQLite: long works on tenants' stores, as rows of control.db."""

from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from backends.sqlite.control import SQL, WORKS, Control, first_row, to_json
from backends.sqlite.leases import held_by, renew, why_refused
from backends.sqlite.tenants import tenant_of
from engine.model import ExportStatus, Issue, JobId, Lease
from engine.tenant import TenantId
from engine.upkeep.ports import Pruning, Reindex, Standing, StoreWork, Task

ENDED_KEPT = 10  # of a tenant and a kind


class SqliteStoreWorks:
    """See StoreWorks."""

    def __init__(self, control: Control, new_id: Callable[[], str]) -> None:
        self._control = control
        self._new_id = new_id

    async def ask(self, tenant: TenantId, task: Task) -> StoreWork:
        """See StoreWorks.ask."""
        work = await self._control.writes.write(self._ask, tenant, task)
        self._control.changes.wake_nowait()
        return work

    async def find(self, tenant: TenantId, work: JobId) -> StoreWork | None:
        """See StoreWorks.find."""
        return await self._control.reads.read(_find, tenant, work)

    async def cancel(self, tenant: TenantId, work: JobId) -> None:
        """See StoreWorks.cancel."""
        await self._control.writes.write(self._cancel, tenant, work)
        self._control.changes.wake_nowait()

    async def save(self, lease: Lease, standing: Standing) -> None:
        """See StoreWorks.save."""
        await self._control.writes.write(self._save, lease, standing)

    async def end(self, lease: Lease, standing: Standing, *, issue: Issue | None = None) -> None:
        """See StoreWorks.end."""
        await self._control.writes.write(self._end, lease, standing, issue)
        self._control.changes.wake_nowait()

    def _ask(self, connection: apsw.Connection, tenant: TenantId, task: Task) -> StoreWork:
        tenant_of(connection, tenant)
        place = {"tenant": tenant, "kind": task.__struct_config__.tag}
        row = first_row(connection, "open_work", place)
        if row is None:
            connection.execute(SQL["forget_works"], place | {"kept": ENDED_KEPT})
            row = (self._new_id(),)
            values = {
                "work": row[0],
                "task": to_json(task),
                "standing": to_json(Standing()),
                "wall": self._control.clock.now_ms(),
            }
            connection.execute(SQL["add_work"], place | values)
        work = _find(connection, tenant, JobId(row[0]))
        assert work is not None
        return work

    def _cancel(self, connection: apsw.Connection, tenant: TenantId, work: JobId) -> None:
        wall = self._control.clock.now_ms()
        values = {"work": work, "tenant": tenant, "wall": wall}
        connection.execute(SQL["cancel_work"], values)

    def _save(self, connection: apsw.Connection, lease: Lease, standing: Standing) -> None:
        num = renew(connection, self._control, lease, WORKS)
        connection.execute(SQL["save_standing"], {"num": num, "standing": to_json(standing)})

    def _end(
        self, connection: apsw.Connection, lease: Lease, standing: Standing, issue: Issue | None
    ) -> None:
        values = {
            "status": ExportStatus.COMPLETE if issue is None else ExportStatus.ERROR,
            "wall": self._control.clock.now_ms(),
            "standing": to_json(standing),
            "issue": None if issue is None else to_json(issue),
        }
        connection.execute(SQL["end_work"], held_by(lease) | values)
        if connection.changes() != 1:
            raise why_refused(connection, lease, WORKS)


def _find(connection: apsw.Connection, tenant: TenantId, work: JobId) -> StoreWork | None:
    row = first_row(connection, "shown_work", {"tenant": tenant, "work": work})
    return None if row is None else _shown(*row)


def _shown(
    id: Any,
    tenant: Any,
    task: Any,
    status: Any,
    standing: Any,
    created_ms: Any,
    finished_ms: Any,
    worker: Any,
    reason: Any,
    issue: Any,
) -> StoreWork:
    return StoreWork(
        id=JobId(id),
        tenant=TenantId(tenant),
        task=msgspec.json.decode(task, type=Reindex | Pruning),
        status=ExportStatus(status),
        standing=msgspec.json.decode(standing, type=Standing),
        created_ms=created_ms,
        finished_ms=finished_ms,
        worker=worker,
        reason=reason,
        issue=None if issue is None else msgspec.json.decode(issue, type=Issue),
    )
