"""Plans: cuts what an export reads into parts of about the same size.

Rows lie by type in commit order, and lastUpdated only grows with it, so what matches
`_since` and `_until` is one stretch of each type. Extents tell the sizes; what no extent
covers is measured, and made an extent if it is large enough to be worth it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from backends.sqlite.opened import OpenedFile
from backends.sqlite.queries import load_queries
from backends.sqlite.stream import Filter, filter_of
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.types import SEQ_BITS
from engine.limits import MIB
from engine.model import ExportRequest, Part, Snapshot

_SQL: Final = load_queries("bulk")

RUN_BYTES_MAX = 4 * MIB
RUNS_PER_PART = 16  # so that a part is at most a sixteenth smaller than it could be
MEASURE_ROWS_MAX = 20_000  # at once: a cancel waits for one such look at most
SEAL_BYTES_MIN = MIB


class Run(msgspec.Struct, frozen=True):
    """Neighbouring rows of one type."""

    first: int
    last: int
    rows: int  # all
    bytes: int
    upd_min: int
    upd_max: int
    rows_matching: int
    bytes_matching: int


async def plan_parts(
    file: OpenedFile, request: ExportRequest, snapshot: Snapshot, part_bytes: int
) -> tuple[Part, ...]:
    """See engine.ports.BulkReader.plan."""
    found: list[Part] = []
    for name, type_id in await file.scans.call(_types):
        if request.types and name not in request.types:
            continue
        planner = _TypePlanner(file, type_id, filter_of(request, snapshot), part_bytes)
        runs = await planner.runs(snapshot.seq)
        for index, slice in enumerate(_slices(runs, part_bytes), start=1):
            found.append(_part(slice, number=len(found), type=name, index=index))
    return tuple(found)


class _TypePlanner:
    """Finds the runs of one type."""

    def __init__(self, file: OpenedFile, type_id: int, filter: Filter, part_bytes: int) -> None:
        self._file = file
        self._type_id = type_id
        self._filter = filter
        self._part_bytes = part_bytes
        self._run_bytes = max(1, min(RUN_BYTES_MAX, part_bytes // RUNS_PER_PART))

    async def runs(self, seq: int) -> list[Run]:
        """Everything up to `seq` that may match, in rid order."""
        position = self._type_id << SEQ_BITS
        end = position | seq
        runs: list[Run] = []
        for extent in await self._file.scans.call(_extents, self._type_id, end):
            runs += await self._measure(position, extent.first - 1, closed=True)
            if extent.last > end or extent.bytes > self._part_bytes:
                runs += await self._measure(extent.first, min(extent.last, end), closed=False)
            elif extent.upd_max > self._filter.upd_over and extent.upd_min <= self._filter.upd_max:
                runs.append(extent)
            position = extent.last + 1
        runs += await self._measure(position, end, closed=False)
        return runs

    async def _measure(self, first: int, last: int, *, closed: bool) -> list[Run]:
        """Runs between two rids that have matching rows. `closed`: extents lie around it, so
        even a small rest is worth one."""
        runs: list[Run] = []
        while first <= last:
            looked, more = await self._file.scans.call(
                _look, first, last, self._run_bytes, self._filter
            )
            if not looked:
                break
            runs += looked
            first = looked[-1].last + 1 if more else last + 1
        await self._seal(runs if closed else runs[:-1])
        return [run for run in runs if run.rows_matching]

    async def _seal(self, runs: Sequence[Run]) -> None:
        """Nothing is ever added behind a snapshot, so what was measured stays true."""
        if sum(run.bytes for run in runs) >= SEAL_BYTES_MIN and self._run_bytes >= SEAL_BYTES_MIN:
            await self._file.writer.apply(
                lambda transaction: _insert_extents(transaction, self._type_id, runs)
            )


def _slices(runs: Sequence[Run], part_bytes: int) -> Iterator[list[Run]]:
    """Group runs so that each group has at most `part_bytes`, or is a single run."""
    slice: list[Run] = []
    size_bytes = 0
    for run in runs:
        if slice and size_bytes + run.bytes_matching > part_bytes:
            yield slice
            slice, size_bytes = [], 0
        slice.append(run)
        size_bytes += run.bytes_matching
    if slice:
        yield slice


def _part(slice: Sequence[Run], *, number: int, type: str, index: int) -> Part:
    return Part(
        number=number,
        type=type,
        index=index,
        first=slice[0].first,
        last=slice[-1].last,
        rows_estimate=sum(run.rows_matching for run in slice),
        bytes_estimate=sum(run.bytes_matching for run in slice),
    )


# In the door's threads.


def _types(connection: apsw.Connection) -> list[tuple[str, int]]:
    rows: Any = connection.execute(_SQL["types"]).fetchall()
    return list(rows)


def _extents(connection: apsw.Connection, type_id: int, end: int) -> list[Run]:
    """What an extent knows; all of its rows are taken to match."""
    rows: Any = connection.execute(_SQL["extents"], (type_id, end)).fetchall()
    return [
        Run(first, last, count, size, upd_min, upd_max, count, size)
        for first, last, count, size, upd_min, upd_max in rows
    ]


def _look(
    connection: apsw.Connection, first: int, last: int, run_bytes: int, filter: Filter
) -> tuple[list[Run], bool]:
    """Measure the next rows; also whether there may be more."""
    values = (first, last, MEASURE_ROWS_MAX, run_bytes, *filter.values)
    rows: Any = connection.execute(_SQL["measure"], values).fetchall()
    runs = [Run(*row) for row in rows]
    return runs, sum(run.rows for run in runs) == MEASURE_ROWS_MAX


def _insert_extents(transaction: WriteTransaction, type_id: int, runs: Sequence[Run]) -> None:
    transaction.connection.executemany(
        _SQL["seal"],
        [
            (type_id, run.first, run.last, run.rows, run.bytes, run.upd_min, run.upd_max)
            for run in runs
        ],
    )
