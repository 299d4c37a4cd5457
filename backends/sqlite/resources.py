"""Single reads and writes of one tenant's resources."""

from typing import Any, Final

import apsw
import msgspec

from backends.sqlite.opened import OpenedFile
from backends.sqlite.queries import load_queries
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.types import DELETED, SEQ_BITS, ensure_type
from engine.errors import Conflict, VersionMismatch
from engine.instant import format_instant
from engine.model import Prepared, StoreStatistics, Version, Written

_SQL: Final = load_queries("resources")


class _Found(msgspec.Struct, frozen=True):
    """A version, and where it lies."""

    version: Version
    rid: int


class Resources:
    """The single-resource side of a tenant's store."""

    _file: OpenedFile

    async def read(self, type: str, id: str) -> Version | None:
        """See engine.ports.ResourceReader."""
        found = await self._file.points.call(_current, type, id)
        return None if found is None else found.version

    async def vread(self, type: str, id: str, version: int) -> Version | None:
        """See engine.ports.ResourceReader."""
        found = await self._file.points.call(_numbered, type, id, version)
        return None if found is None else found.version

    async def statistics(self) -> StoreStatistics:
        """See engine.ports.ResourceReader."""
        return await self._file.points.call(_statistics)

    async def create(self, resource: Prepared) -> Written:
        """See engine.ports.ResourceWriter."""
        return await self._file.writer.apply(
            lambda transaction: _create(transaction, resource), size_bytes=resource.size_bytes
        )

    async def update(self, resource: Prepared, *, if_match: int | None = None) -> Written:
        """See engine.ports.ResourceWriter."""
        return await self._file.writer.apply(
            lambda transaction: _update(transaction, resource, if_match),
            size_bytes=resource.size_bytes,
        )

    async def delete(self, type: str, id: str, *, if_match: int | None = None) -> Version | None:
        """See engine.ports.ResourceWriter."""
        return await self._file.writer.apply(
            lambda transaction: _delete(transaction, type, id, if_match)
        )


# Reads, in the door's thread.


def _current(connection: apsw.Connection, type: str, id: str) -> _Found | None:
    return _find(connection, "current", type, id)


def _numbered(connection: apsw.Connection, type: str, id: str, version: int) -> _Found | None:
    if version >= 1 << 63:  # more than SQLite can hold, so there is none
        return None
    return _find(connection, "numbered", type, id, version)


def _find(connection: apsw.Connection, query: str, type: str, id: str, *more: int) -> _Found | None:
    rows: list[Any] = connection.execute(_SQL[query], (type, id, *more)).fetchall()
    if not rows:
        return None
    ver, upd_ms, flags, body, rid = rows[0]
    return _Found(Version(type, id, ver, upd_ms, None if flags & DELETED else body), rid)


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


def _create(transaction: WriteTransaction, resource: Prepared) -> Written:
    current = _current(transaction.connection, resource.type, resource.id)
    if _live(current) is not None:
        raise Conflict("there is a resource with this id already")
    return _put(transaction, resource, current)


def _update(transaction: WriteTransaction, resource: Prepared, if_match: int | None) -> Written:
    current = _current(transaction.connection, resource.type, resource.id)
    _require_match(current, if_match)
    return _put(transaction, resource, current)


def _delete(
    transaction: WriteTransaction, type: str, id: str, if_match: int | None
) -> Version | None:
    current = _current(transaction.connection, type, id)
    _require_match(current, if_match)
    if current is None or current.version.deleted:
        return None if current is None else current.version
    tombstone = Version(type, id, current.version.version + 1, transaction.stamp(), None)
    _append(transaction, tombstone, current)
    return tombstone


def _live(current: _Found | None) -> Version | None:
    return None if current is None or current.version.deleted else current.version


def _require_match(current: _Found | None, if_match: int | None) -> None:
    live = _live(current)
    if if_match is not None and (live is None or live.version != if_match):
        raise VersionMismatch("the resource has another version than If-Match names")


def _put(transaction: WriteTransaction, resource: Prepared, current: _Found | None) -> Written:
    number = 1 if current is None else current.version.version + 1
    upd_ms = transaction.stamp()
    body = resource.body(number, format_instant(upd_ms))
    version = Version(resource.type, resource.id, number, upd_ms, body)
    _append(transaction, version, current)
    return Written(version, created=_live(current) is None)


def _append(transaction: WriteTransaction, version: Version, current: _Found | None) -> None:
    """Make it the current version, and the one before a replaced one."""
    connection = transaction.connection
    type_id = ensure_type(connection, version.type)
    seq = transaction.take_seq(1)
    rid = type_id << SEQ_BITS | seq
    prev = None if current is None else current.rid
    flags = DELETED if version.deleted else 0
    connection.execute(
        _SQL["insert_version"],
        (rid, version.id, version.version, version.updated_ms, prev, flags, version.body),
    )
    connection.execute(_SQL["insert_index"], (type_id, version.id, version.version, rid))
    if prev is not None:
        connection.execute(_SQL["supersede"], (prev, seq))
    change = (not version.deleted) - (_live(current) is not None)
    if change:
        connection.execute(_SQL["count_live"], (type_id, change))
