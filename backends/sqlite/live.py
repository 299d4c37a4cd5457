"""The current version of a resource: put, deleted, and the index kept in step with it.

Everything runs inside the writer's transaction. Whoever writes one resource comes by here:
single writes, conditional ones, entries of bundles.
"""

from typing import Any, Final

import apsw
import msgspec

from backends.definitions import SEARCH_PARAMETER
from backends.sqlite.index import NO_ROWS, change_rows, delete_rows, insert, replace_rows
from backends.sqlite.queries import load_queries
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.types import DELETED, SEQ_BITS, ensure_type, find_type
from backends.sqlite.unindexed import Unindexed
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.rows import Rows
from engine.model import Prepared, Version, Written

_SQL: Final = load_queries("resources") | load_queries("index")

# Larger bodies are looked at before the writer's transaction, which others wait for.
AHEAD_BYTES_MIN = 32 * 1024


class Current(msgspec.Struct, frozen=True):
    """The newest version of a resource, a deletion included."""

    version: Version
    rid: int
    res: int  # the resource's number
    indexed: int | None  # generation that its index rows were made by; None: it has none

    @property
    def live(self) -> Version | None:
        """The version, if it is no deletion."""
        return None if self.version.deleted else self.version


class Ahead(msgspec.Struct, frozen=True):
    """What was worked out before the transaction. Holds for one generation of the definitions,
    and `old` for one version."""

    generation: int
    new: Rows
    old_rid: int
    old: Rows


def find_current(connection: apsw.Connection, type: str, id: str) -> Current | None:
    """None if there never was such a resource."""
    found: Any = connection.execute(
        _SQL["find_newest"], (find_type(connection, type), id)
    ).fetchall()
    if not found:
        return None
    rid, res = found[0]
    newest: Any = connection.execute(_SQL["newest"], (rid, res)).get
    ver, upd_ms, flags, body, indexed = newest
    version = Version(type, id, ver, upd_ms, None if flags & DELETED else body)
    return Current(version, rid, res, indexed)


def look_ahead(
    connection: apsw.Connection, resource: Prepared, definitions: SearchDefinitions
) -> Ahead:
    """Extract what is to be written and what is there, in a thread that reads."""
    current = find_current(connection, resource.type, resource.id)
    old = NO_ROWS
    if current is not None and current.live is not None:
        old = _rows_of(current.version, definitions)
    new = rows_ahead(resource, definitions)
    return Ahead(definitions.generation, new, 0 if current is None else current.rid, old)


def rows_ahead(resource: Prepared, definitions: SearchDefinitions) -> Rows:
    """The index rows of what is not stored yet: versionId and lastUpdated have none."""
    if resource.rows is not None and resource.generation == definitions.generation:
        return resource.rows
    return definitions.rows(resource.type, resource.unwritten_body)


def put(
    transaction: WriteTransaction,
    resource: Prepared,
    current: Current | None,
    ahead: Ahead | None = None,
    unindexed: Unindexed | None = None,
) -> Written:
    """Make it the current version, after `current`. Index rows of a new resource may be left to
    `unindexed`, which does not hold this one yet."""
    number = 1 if current is None else current.version.version + 1
    upd_ms = transaction.stamp()
    body = resource.body(number, transaction.instant)
    version = Version(resource.type, resource.id, number, upd_ms, body)
    rid = _append(transaction, version, current)
    if resource.type == SEARCH_PARAMETER:
        transaction.redefine([body])
    _index(transaction, resource, rid, current, ahead, unindexed)
    return Written(version, created=current is None or current.live is None)


def delete(
    transaction: WriteTransaction, type: str, id: str, current: Current | None
) -> Version | None:
    """The tombstone, a new one or the one there was."""
    if current is None or current.live is None:
        return None if current is None else current.version
    tombstone = Version(type, id, current.version.version + 1, transaction.stamp(), None)
    _append(transaction, tombstone, current)
    if current.indexed is not None:
        rows = _rows_of(current.version, transaction.definitions)
        delete_rows(transaction.connection, current.res, rows)
        transaction.connection.execute(_SQL["delete_live"], (current.res,))
    if type == SEARCH_PARAMETER:
        transaction.redefine()
    return tombstone


def _append(transaction: WriteTransaction, version: Version, current: Current | None) -> int:
    """Add a version, and make the one before a replaced one. Returns its rid."""
    connection = transaction.connection
    type_id = ensure_type(connection, version.type)
    seq = transaction.take_seq(1)
    rid = type_id << SEQ_BITS | seq
    prev, res = (None, None) if current is None else (current.rid, current.res)
    flags = DELETED if version.deleted else 0
    connection.execute(
        _SQL["insert_version"],
        (rid, version.id, version.version, version.updated_ms, prev, flags, version.body),
    )
    connection.execute(_SQL["insert_index"], (type_id, version.id, version.version, rid, res))
    if prev is not None:
        connection.execute(_SQL["supersede"], (prev, seq))
    was_live = current is not None and current.live is not None
    connection.execute(_SQL["count_version"], (type_id, (not version.deleted) - was_live))
    return rid


def _index(
    transaction: WriteTransaction,
    resource: Prepared,
    rid: int,
    current: Current | None,
    ahead: Ahead | None,
    unindexed: Unindexed | None,
) -> None:
    """Bring the index from what the resource said to what it says."""
    connection, definitions = transaction.connection, transaction.definitions
    generation = definitions.generation
    if ahead is not None and ahead.generation != generation:
        ahead = None
    new = rows_ahead(resource, definitions) if ahead is None else ahead.new
    if current is None or current.indexed is None:
        res = rid if current is None else current.res
        tkey = transaction.keys.target(resource.type, resource.id)
        if unindexed is not None:
            unindexed.add(
                res, rid, target=tkey, generation=generation, rows=new,
                size_bytes=resource.size_bytes,
            )  # fmt: skip
            return
        insert(connection, "live", [res, rid, tkey, generation])
        change_rows(connection, transaction.known, res, NO_ROWS, new)
        return
    connection.execute(_SQL["move_live"], (current.res, rid, generation))
    if ahead is not None and ahead.old_rid == current.rid:
        old = ahead.old
    else:
        old = _rows_of(current.version, definitions)
    replace_rows(
        connection, transaction.known, current.res, old, new,
        complete=current.indexed == generation,
    )  # fmt: skip


def _rows_of(version: Version, definitions: SearchDefinitions) -> Rows:
    assert version.body is not None
    return definitions.rows(version.type, version.body)
