"""ExportUpkeep on SQLite: the janitor's side of a job."""

from collections.abc import Sequence

import apsw

from backends.sqlite.control import SQL, Control, first_row, to_json, worker_ids
from backends.sqlite.jobs import view_of
from engine.model import ExportView, JobId, RemovableExport
from engine.tenant import TenantId, TenantKey


class SqliteExportUpkeep:
    """See ExportUpkeep."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def removable(self, *, limit: int = 100) -> Sequence[RemovableExport]:
        """See ExportUpkeep.removable."""
        return await self._control.reads.read(self._removable, limit)

    async def purged(self, job: JobId) -> None:
        """See ExportUpkeep.purged. A job that has not ended stays as it is."""
        await self._control.writes.write(_purged, job)

    async def find(self, job: JobId) -> ExportView | None:
        """See ExportUpkeep.find."""
        return await self._control.reads.read(view_of, job)

    def _removable(self, connection: apsw.Connection, limit: int) -> list[RemovableExport]:
        dead = self._control.locks.dead(worker_ids(connection, "holders"))
        values = self._control.lease_clock() | {
            "wall": self._control.clock.now_ms(),
            "dead": to_json(dead),
            "limit": limit,
        }
        rows = connection.execute(SQL["removable"], values).fetchall()
        return [
            RemovableExport(
                id=JobId(str(id)), tenant=TenantId(str(tenant)), tenant_key=TenantKey(str(key))
            )
            for id, tenant, key in rows
        ]


def _purged(connection: apsw.Connection, job: JobId) -> None:
    connection.execute(SQL["forget_job"], {"job": job})
    row = first_row(connection, "mark_purged", {"job": job})
    if row is not None:
        connection.execute(SQL["forget_parts"], {"num": row[0]})
