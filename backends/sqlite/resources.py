"""Single reads and writes of one tenant's resources."""

from typing import Any, Final

import apsw

from backends.sqlite.live import (
    AHEAD_BYTES_MIN,
    Ahead,
    Current,
    delete,
    find_current,
    look_ahead,
    put,
)
from backends.sqlite.opened import OpenedFile
from backends.sqlite.queries import load_queries
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.types import DELETED
from engine.errors import Conflict, VersionMismatch
from engine.model import Prepared, StoreStatistics, Version, Written

_SQL: Final = load_queries("resources")


class Resources:
    """The single-resource side of a tenant's store."""

    _file: OpenedFile

    async def read(self, type: str, id: str) -> Version | None:
        """See engine.ports.ResourceReader."""
        return await self._file.points.call(_current, type, id)

    async def vread(self, type: str, id: str, version: int) -> Version | None:
        """See engine.ports.ResourceReader."""
        return await self._file.points.call(_numbered, type, id, version)

    async def statistics(self) -> StoreStatistics:
        """See engine.ports.ResourceReader."""
        return await self._file.points.call(_statistics)

    async def create(self, resource: Prepared) -> Written:
        """See engine.ports.ResourceWriter."""
        ahead = await self._look_ahead(resource)
        return await self._file.writer.apply(
            lambda transaction: _create(transaction, resource, ahead),
            size_bytes=resource.size_bytes,
        )

    async def update(self, resource: Prepared, *, if_match: int | None = None) -> Written:
        """See engine.ports.ResourceWriter."""
        ahead = await self._look_ahead(resource)
        return await self._file.writer.apply(
            lambda transaction: _update(transaction, resource, if_match, ahead),
            size_bytes=resource.size_bytes,
        )

    async def delete(self, type: str, id: str, *, if_match: int | None = None) -> Version | None:
        """See engine.ports.ResourceWriter."""
        return await self._file.writer.apply(
            lambda transaction: _delete(transaction, type, id, if_match)
        )

    async def _look_ahead(self, resource: Prepared) -> Ahead | None:
        """Of a large body only: of a small one it costs less than another thread."""
        if resource.size_bytes < AHEAD_BYTES_MIN:
            return None
        definitions = self._file.definitions
        return await self._file.points.call(
            lambda connection: look_ahead(connection, resource, definitions.current(connection))
        )


# Reads, in the door's thread.


def _current(connection: apsw.Connection, type: str, id: str) -> Version | None:
    return _find(connection, "current", type, id)


def _numbered(connection: apsw.Connection, type: str, id: str, version: int) -> Version | None:
    if version >= 1 << 63:  # more than SQLite can hold, so there is none
        return None
    return _find(connection, "numbered", type, id, version)


def _find(
    connection: apsw.Connection, query: str, type: str, id: str, *more: int
) -> Version | None:
    rows: list[Any] = connection.execute(_SQL[query], (type, id, *more)).fetchall()
    if not rows:
        return None
    ver, upd_ms, flags, body = rows[0]
    return Version(type, id, ver, upd_ms, None if flags & DELETED else body)


def _statistics(connection: apsw.Connection) -> StoreStatistics:
    with connection:  # both queries see one state
        store, seq, cut_ms, last_ms, open_snapshots = connection.execute(_SQL["facts"]).get
        live: Any = connection.execute(_SQL["live"]).fetchall()
    return StoreStatistics(
        store=store,
        seq=seq,
        cut_ms=cut_ms,
        last_ms=last_ms,
        rows=dict(live),
        open_snapshots=open_snapshots,
    )


# Writes, inside the writer's transaction.


def _create(transaction: WriteTransaction, resource: Prepared, ahead: Ahead | None) -> Written:
    current = find_current(transaction.connection, resource.type, resource.id)
    if current is not None and current.live is not None:
        raise Conflict("there is a resource with this id already")
    return put(transaction, resource, current, ahead)


def _update(
    transaction: WriteTransaction, resource: Prepared, if_match: int | None, ahead: Ahead | None
) -> Written:
    current = find_current(transaction.connection, resource.type, resource.id)
    _require_match(current, if_match)
    return put(transaction, resource, current, ahead)


def _delete(
    transaction: WriteTransaction, type: str, id: str, if_match: int | None
) -> Version | None:
    current = find_current(transaction.connection, type, id)
    _require_match(current, if_match)
    return delete(transaction, type, id, current)


def _require_match(current: Current | None, if_match: int | None) -> None:
    live = None if current is None else current.live
    if if_match is not None and (live is None or live.version != if_match):
        raise VersionMismatch("the resource has another version than If-Match names")
