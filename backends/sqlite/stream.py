"""The hot path: the rows of one part as batches of NDJSON bytes.

The database puts the chunks of a batch together, so nothing is done per resource here. How
much a statement may build is limited by SQLite itself (`SQLITE_LIMIT_LENGTH`), whatever
the sizes of the rows: if a chunk would be larger, it is measured first, and a line that
alone is too long is read in pieces.
"""

from typing import Any, Final

import apsw
import msgspec
import trio

from backends.sqlite.connection import Tuning
from backends.sqlite.queries import load_queries
from backends.sqlite.readers import Readers
from backends.sqlite.types import REPLACED
from engine.limits import MIB
from engine.model import Batch, ExportRequest, Part, PartEnd, Snapshot

_SQL: Final = load_queries("bulk")

BATCH_BYTES = 4 * MIB  # aimed at: every way to a thread and back costs, so many chunks go at once
CHUNK_BYTES = MIB  # of one statement: 1 MiB fits the processor's cache; 4 took a fifth longer
CHUNK_BYTES_MAX = 2 * MIB  # of a measured one
STATEMENT_BYTES_MAX = 3 * MIB  # SQLite refuses to build more
PIECE_BYTES = MIB  # of a line that alone is longer
CHUNK_ROWS_MAX = 2000
LOOK_ROWS_MAX = 20_000  # at once, where few of them match: some 20 ms
assert CHUNK_BYTES < CHUNK_BYTES_MAX < STATEMENT_BYTES_MAX < BATCH_BYTES

SCANNER: Final = Tuning(read_only=True, length_bytes_max=STATEMENT_BYTES_MAX)

TIME_MAX = (1 << 63) - 1


class Filter(msgspec.Struct, frozen=True):
    """Which rows match: in the order in which the statements take it."""

    sup_over: int  # what is replaced later than the snapshot, or never
    upd_over: int
    upd_max: int

    @property
    def by_time(self) -> bool:
        """Whether more than the state at the snapshot is asked for."""
        return self.upd_over >= 0 or self.upd_max < TIME_MAX

    @property
    def values(self) -> tuple[int, int, int]:
        return self.sup_over, self.upd_over, self.upd_max


def filter_of(request: ExportRequest, snapshot: Snapshot) -> Filter:
    """`_since` excludes its instant, `_until` includes it (E27, D21)."""
    return Filter(
        REPLACED + snapshot.seq,
        -1 if request.since_ms is None else request.since_ms,
        TIME_MAX if request.until_ms is None else request.until_ms,
    )


class _Place(msgspec.Struct, frozen=True):
    """Where a stream stands. Replaced when a batch was read, so a cancelled read moves nothing."""

    rid: int  # the next row to look at
    look: int  # rows to look at next time
    offset: int = 0  # into the body of that row, if its line comes in pieces


class SqlitePartStream:
    """See engine.ports.PartStream."""

    def __init__(
        self, scans: Readers, part: Part, request: ExportRequest, snapshot: Snapshot
    ) -> None:
        self._scans = scans
        self._last = part.last
        self._filter = filter_of(request, snapshot)
        row_bytes = part.bytes_estimate / max(1, part.rows_estimate)
        self._place = _Place(part.first, _rows_to_look_at(row_bytes, 1.0))
        self._rows = 0
        self._bytes = 0

    async def read(self) -> Batch | PartEnd:
        """See engine.ports.PartStream."""
        if self._place.rid > self._last:
            return await self._end()
        batch, self._place = await self._scans.call(_read, self._place, self._last, self._filter)
        self._rows += batch.rows
        self._bytes += batch.size_bytes
        return batch

    async def _end(self) -> PartEnd:
        await trio.lowlevel.checkpoint()
        return PartEnd(self._rows, self._bytes)


# In the door's thread.


def _read(
    connection: apsw.Connection, place: _Place, last: int, filter: Filter
) -> tuple[Batch, _Place]:
    """As many chunks as fit; fewer once rows are looked at in vain, to let a cancel in."""
    chunks: list[bytes] = []
    rows = size_bytes = 0
    while place.rid <= last and size_bytes + CHUNK_BYTES <= BATCH_BYTES:
        batch, place = _read_chunk(connection, place, last, filter)
        if not batch.chunks:
            break
        chunks += batch.chunks
        rows += batch.rows
        size_bytes += batch.size_bytes
    return Batch(tuple(chunks), rows), place


def _read_chunk(
    connection: apsw.Connection, place: _Place, last: int, filter: Filter
) -> tuple[Batch, _Place]:
    if place.offset:
        return _read_piece(connection, place)
    try:
        return _read_lines(connection, place, last, filter)
    except apsw.TooBigError:
        return _read_measured(connection, place, last, filter)


def _read_lines(
    connection: apsw.Connection, place: _Place, last: int, filter: Filter
) -> tuple[Batch, _Place]:
    """Lines of the rows that come next, if SQLite may build as many."""
    if filter.by_time:
        return _read_filtered(connection, place, last, filter)
    row: Any = connection.execute(
        _SQL["lines_unfiltered"], (place.rid, last, place.look, filter.sup_over)
    ).fetchall()[0]
    max_rid, rows, lines = row
    if not rows:
        return Batch((), 0), _Place(last + 1, place.look)
    if rows < place.look:
        max_rid = last  # there was no more
    # The newline is a chunk of its own: adding it to the lines would copy them all.
    return Batch((lines, b"\n"), rows), _Place(
        max_rid + 1, min(_rows_to_look_at(len(lines) / rows, 1.0), 4 * place.look)
    )


def _read_filtered(
    connection: apsw.Connection, place: _Place, last: int, filter: Filter
) -> tuple[Batch, _Place]:
    """Lines of those that match among a bounded number of rows."""
    row: Any = connection.execute(
        _SQL["lines"], (place.rid, last, place.look, *filter.values)
    ).fetchall()[0]
    max_rid, looked, rows, lines = row
    if looked < place.look:
        max_rid = last  # there was no more
    if not rows:
        return Batch((), 0), _Place(max_rid + 1, min(4 * place.look, LOOK_ROWS_MAX))
    look = _rows_to_look_at(len(lines) / looked, rows / looked)
    return Batch((lines, b"\n"), rows), _Place(max_rid + 1, min(look, 4 * place.look))


def _read_measured(
    connection: apsw.Connection, place: _Place, last: int, filter: Filter
) -> tuple[Batch, _Place]:
    """The rows are larger than expected: take as many as fit, or a piece of the first one.
    Rows that do not match fit always."""
    values = (place.rid, last, place.look, *filter.values, CHUNK_BYTES_MAX)
    fitting = int(connection.execute(_SQL["lines_fitting"], values).get)
    if fitting == 0:
        rid: Any = connection.execute(_SQL["first_rid"], (place.rid, last)).get
        return _read_piece(connection, msgspec.structs.replace(place, rid=rid))
    return _read_filtered(connection, msgspec.structs.replace(place, look=fitting), last, filter)


def _read_piece(connection: apsw.Connection, place: _Place) -> tuple[Batch, _Place]:
    """A piece of one line. The body of a rid never changes, so the next piece may come from
    another connection and a later state."""
    with connection.blobopen("main", "version", "body", place.rid, False) as blob:
        blob.seek(place.offset)
        piece = blob.read(PIECE_BYTES)
        offset = blob.tell()
        if offset < blob.length():
            return Batch((piece,), 0), msgspec.structs.replace(place, offset=offset)
    return Batch((piece, b"\n"), 1), _Place(place.rid + 1, place.look)


def _rows_to_look_at(row_bytes: float, density: float) -> int:
    """For a chunk of about CHUNK_BYTES and at most CHUNK_ROWS_MAX rows, if what comes is like
    what came: bytes and matches per row looked at."""
    by_bytes = CHUNK_BYTES / max(1.0, row_bytes)
    by_rows = CHUNK_ROWS_MAX / density
    return max(1, min(LOOK_ROWS_MAX, int(by_bytes), int(by_rows)))
