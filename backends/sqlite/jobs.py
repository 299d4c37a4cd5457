"""ExportJobs on SQLite: the web's side of a job, and how its rows are read by all sides."""

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from backends.sqlite.control import SQL, Control, first_row, to_json
from backends.sqlite.tenants import tenant_of
from engine.errors import NotFound, TooMany
from engine.model import (
    ExportJob,
    ExportRequest,
    ExportStatus,
    ExportView,
    FileKind,
    FinalizedPart,
    Issue,
    JobId,
    NewExport,
    Part,
    Progress,
    Snapshot,
    StoredFile,
)
from engine.tenant import TenantId, TenantKey

RETRY_SECONDS = 60  # until a tenant with too many open jobs should ask again

Row = tuple[Any, ...]


class SqliteExportJobs:
    """See ExportJobs."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def start(self, job: NewExport, *, open_max: int) -> ExportJob:
        """See ExportJobs.start. Raises NotFound if there is no such tenant."""
        started = await self._control.writes.write(self._start, job, open_max)
        self._control.changes.wake_nowait()
        return started

    async def get(self, tenant: TenantId, job: JobId) -> ExportJob:
        """See ExportJobs.get."""
        return await self._control.glance(_get, tenant, job)

    async def list(self, tenant: TenantId | None, *, limit: int = 100) -> Sequence[ExportJob]:
        """See ExportJobs.list."""
        return await self._control.reads.read(_list, tenant, limit)

    async def parts(self, tenant: TenantId, job: JobId) -> Sequence[FinalizedPart]:
        """See ExportJobs.parts."""
        return await self._control.reads.read(_files, tenant, job)

    async def part(
        self, tenant: TenantId, job: JobId, kind: FileKind, type: str, index: int
    ) -> FinalizedPart:
        """See ExportJobs.part."""
        return await self._control.glance(_file, tenant, job, kind, type, index)

    async def cancel(self, tenant: TenantId, job: JobId) -> ExportJob:
        """See ExportJobs.cancel."""
        cancelled = await self._control.writes.write(self._cancel, tenant, job)
        self._control.changes.wake_nowait()
        return cancelled

    async def delete(self, tenant: TenantId, job: JobId) -> None:
        """See ExportJobs.delete."""
        await self._control.writes.write(self._delete, tenant, job)
        self._control.changes.wake_nowait()

    def _start(self, connection: apsw.Connection, job: NewExport, open_max: int) -> ExportJob:
        tenant_of(connection, job.tenant)
        count = first_row(connection, "open_jobs", {"tenant": job.tenant})
        assert count is not None
        if count[0] >= open_max:
            raise TooMany(
                f"{count[0]} exports of this tenant have not ended, which is the most allowed: "
                "wait for one, or cancel one",
                retry_after_s=RETRY_SECONDS,
            )
        values = {"job": job.id, "tenant": job.tenant, "wall": self._control.clock.now_ms()}
        row = first_row(connection, "add_job", values | msgspec.structs.asdict(job.snapshot))
        assert row is not None
        request = {"num": row[0], "request": to_json(job.request)}
        connection.execute(SQL["add_request"], request)
        return _get(connection, job.tenant, job.id)

    def _cancel(self, connection: apsw.Connection, tenant: TenantId, job: JobId) -> ExportJob:
        _get(connection, tenant, job)
        values = {"tenant": tenant, "job": job, "wall": self._control.clock.now_ms()}
        connection.execute(SQL["cancel"], values)
        return _get(connection, tenant, job)

    def _delete(self, connection: apsw.Connection, tenant: TenantId, job: JobId) -> None:
        self._cancel(connection, tenant, job)
        connection.execute(SQL["delete"], {"tenant": tenant, "job": job})
        connection.execute(SQL["forget_purged"], {"job": job})


def view_of(connection: apsw.Connection, job: JobId) -> ExportView | None:
    """Any job with its plan and its parts, deleted or not."""
    row = first_row(connection, "any_job", {"job": job})
    if row is None:
        return None
    plan = first_row(connection, "plan", {"num": row[0]})
    return ExportView(
        job=_job(row),
        plan=None if plan is None else msgspec.json.decode(plan[0], type=tuple[Part, ...]),
        recorded=_recorded(connection, row[0]),
    )


def _get(connection: apsw.Connection, tenant: TenantId, job: JobId) -> ExportJob:
    return _job(_shown(connection, tenant, job))


def _list(connection: apsw.Connection, tenant: TenantId | None, limit: int) -> list[ExportJob]:
    name = "shown_jobs_of_all" if tenant is None else "shown_jobs"
    values = {"tenant": tenant, "limit": limit}
    return [_job(row) for row in connection.execute(SQL[name], values).fetchall()]


def _files(connection: apsw.Connection, tenant: TenantId, job: JobId) -> list[FinalizedPart]:
    num = _shown(connection, tenant, job)[0]
    return [part for part in _recorded(connection, num) if part.file is not None]


def _file(
    connection: apsw.Connection,
    tenant: TenantId,
    job: JobId,
    kind: FileKind,
    type: str,
    index: int,
) -> FinalizedPart:
    values = {"tenant": tenant, "job": job, "kind": kind, "type": type, "index": index}
    row = first_row(connection, "part", values)
    if row is None:
        raise NotFound("there is no such file")
    return _part(row)


def _shown(connection: apsw.Connection, tenant: TenantId, job: JobId) -> Row:
    row = first_row(connection, "shown_job", {"tenant": tenant, "job": job})
    if row is None:
        raise NotFound("there is no such export job")
    return row


def _recorded(connection: apsw.Connection, num: int) -> tuple[FinalizedPart, ...]:
    rows = connection.execute(SQL["parts"], {"num": num}).fetchall()
    return tuple(_part(row) for row in rows)


def _job(row: Row) -> ExportJob:
    """A row of the view export_shown."""
    (_num, id, tenant, tenant_key, status, _deleted, request, store, seq, t_ms) = row[:10]
    (created_ms, finished_ms, expires_ms, attempt, token, reason, issue) = row[10:17]
    parts_total, bytes_estimate, done = row[17:]
    parts_done, rows_done, bytes_done = msgspec.json.decode(done)
    return ExportJob(
        id=JobId(id),
        tenant=TenantId(tenant),
        tenant_key=TenantKey(tenant_key),
        status=ExportStatus(status),
        request=msgspec.json.decode(request, type=ExportRequest),
        snapshot=Snapshot(store, seq, t_ms),
        created_ms=created_ms,
        finished_ms=finished_ms,
        expires_ms=expires_ms,
        attempt=attempt,
        token=token,
        reason=reason,
        issue=None if issue is None else msgspec.json.decode(issue, type=Issue),
        progress=Progress(
            parts_done=parts_done,
            parts_total=parts_total,
            rows_done=rows_done,
            bytes_done=bytes_done,
            bytes_estimate=bytes_estimate,
        ),
    )


def _part(row: Row) -> FinalizedPart:
    number, kind, type, index, rows, token, location = row[:7]
    bytes, sha256, coding, stored_bytes, stored_sha256 = row[7:]
    file = None
    if location is not None:
        file = StoredFile(
            location=location,
            bytes=bytes,
            sha256=sha256,
            coding=coding,
            stored_bytes=stored_bytes,
            stored_sha256=stored_sha256,
        )
    return FinalizedPart(
        number=number,
        kind=FileKind(kind),
        type=type,
        index=index,
        rows=rows,
        token=token,
        file=file,
    )
