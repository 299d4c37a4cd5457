"""Snapshots, plans and streams of one tenant's store."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import apsw
import trio

from backends.clock import StoreClock
from backends.sqlite.opened import OpenedFile
from backends.sqlite.plan import plan_parts
from backends.sqlite.queries import load_queries
from backends.sqlite.stream import SqlitePartStream
from backends.sqlite.transaction import WriteTransaction
from engine.errors import SnapshotGone
from engine.model import ExportRequest, JobId, Part, Pin, Snapshot

_SQL: Final = load_queries("bulk")


class Bulk:
    """The export side of a tenant's store."""

    _file: OpenedFile

    async def open_snapshot(self, job: JobId) -> Snapshot:
        """See engine.ports.BulkReader. Cancelled: there may be a pin."""
        return await self._file.writer.apply(lambda transaction: _pin(transaction, job))

    async def close_snapshot(self, job: JobId) -> None:
        """See engine.ports.BulkReader."""
        await self._file.writer.apply(lambda transaction: _unpin(transaction, job))

    async def pins(self) -> Sequence[Pin]:
        """See engine.ports.BulkReader."""
        return await self._file.points.call(_pins, self._file.clock)

    async def plan(
        self, request: ExportRequest, snapshot: Snapshot, part_bytes: int
    ) -> tuple[Part, ...]:
        """See engine.ports.BulkReader."""
        self._check(snapshot)
        return await plan_parts(self._file, request, snapshot, part_bytes)

    @asynccontextmanager
    async def stream(
        self, part: Part, request: ExportRequest, snapshot: Snapshot
    ) -> AsyncIterator[SqlitePartStream]:
        """See engine.ports.BulkReader."""
        self._check(snapshot)
        await trio.lowlevel.checkpoint()
        yield SqlitePartStream(self._file.scans, part, request, snapshot)

    def _check(self, snapshot: Snapshot) -> None:
        if snapshot.store != self._file.id:
            raise SnapshotGone("the store was restored or replaced since this job was started")


# Inside the writer's transaction.


def _pin(transaction: WriteTransaction, job: JobId) -> Snapshot:
    rows: Any = transaction.connection.execute(_SQL["find_pin"], (job,)).fetchall()
    if rows:
        return Snapshot(*rows[0])
    snapshot = transaction.cut()
    clock = transaction.clock
    values = (job, snapshot.seq, snapshot.t_ms, clock.boot_id(), clock.lease_now())
    transaction.connection.execute(_SQL["insert_pin"], values)
    return snapshot


def _unpin(transaction: WriteTransaction, job: JobId) -> None:
    transaction.connection.execute(_SQL["delete_pin"], (job,))


# In the door's thread.


def _pins(connection: apsw.Connection, clock: StoreClock) -> list[Pin]:
    rows: Any = connection.execute(_SQL["pins"]).fetchall()
    now_ms, boot = clock.lease_now(), clock.boot_id()
    return [
        # Made in an earlier boot: at least as old as this one.
        Pin(
            job,
            Snapshot(store, seq, t_ms),
            (now_ms - lease_ms if boot == made_in else now_ms) / 1000,
        )
        for job, store, seq, t_ms, made_in, lease_ms in rows
    ]
