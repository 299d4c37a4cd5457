"""Reindex: brings the rows of every live resource to the newest definitions, step by step.

The work walks over the versions, which are the truth. A step reads and extracts in a thread of
its own, and only what it found goes through the writer. Who writes meanwhile indexes what it
writes by the same definitions, so the walk may pass by without seeing it.
"""

from itertools import accumulate
from typing import Any, Final

import apsw
import msgspec

from backends.sqlite.index import Postings, collect, insert, insert_batch
from backends.sqlite.opened import OpenedFile
from backends.sqlite.queries import load_queries
from backends.sqlite.transaction import WriteTransaction
from engine.errors import LeaseLost
from engine.limits import MIB
from engine.model import JobId, Reindexed

_SQL: Final = load_queries("upkeep")
_COMPLETENESS: Final = load_queries("index")["completeness"]

_DONE = 0  # generation of a fence whose work is done

# Of a step: some 50 ms of the writer.
STEP_ROWS_MAX = 2000
STEP_BYTES_MAX = 4 * MIB

# The dictionaries stay: who writes remembers what it wrote there.
_CLEARED = ("live", "tok", "ref", "fwd", "str", "dat", "num", "qty")


class Fence(msgspec.Struct, frozen=True):
    """How far the work is, and for which definitions."""

    token: int
    generation: int
    cursor: int  # the last rid looked at


class Found(msgspec.Struct, frozen=True):
    """What a step looked at, and the rows of what is to be indexed."""

    before: Fence
    generation: int
    cursor: int
    looked: int
    resources: tuple[tuple[int, int, str, str], ...]  # rid, number, type, id
    postings: Postings


class Reindex:
    """The side of a tenant's store that makes its index again."""

    _file: OpenedFile

    async def indexed(self) -> bool:
        """See engine.upkeep.ports.StoreUpkeep."""
        return await self._file.points.call(_is_complete)

    async def begin_reindex(self, job: JobId, token: int, *, rebuild: bool = False) -> None:
        """See engine.upkeep.ports.StoreUpkeep."""
        await self._file.writer.apply(lambda transaction: _begin(transaction, job, token, rebuild))

    async def step_reindex(self, job: JobId, token: int) -> Reindexed:
        """See engine.upkeep.ports.StoreUpkeep."""
        found = await self._file.scans.call(self._look, job, token)
        return await self._file.writer.apply(
            lambda transaction: _write(transaction, job, token, found)
        )

    def _look(self, connection: apsw.Connection, job: JobId, token: int) -> Found:
        """In a thread that reads: what comes next, and its index rows."""
        with connection:  # all statements see one state
            definitions = self._file.definitions.current(connection)
            fence = _fence(connection, job, token)
            start = fence.cursor if fence.generation == definitions.generation else 0
            sizes: Any = connection.execute(_SQL["next_sizes"], (start, STEP_ROWS_MAX)).fetchall()
            looked = _fitting([size for _, size in sizes])
            cursor = sizes[looked - 1][0] if looked else start
            values = (start, cursor, definitions.generation)
            rows: Any = connection.execute(_SQL["next_current"], values).fetchall()
        return Found(
            before=fence,
            generation=definitions.generation,
            cursor=cursor,
            looked=looked,
            resources=tuple(row[:4] for row in rows),
            postings=collect([definitions.rows(type, body) for _, _, type, _, body in rows]),
        )


def _is_complete(connection: apsw.Connection) -> bool:
    made, lacking = connection.execute(_COMPLETENESS).get
    return bool(made) and not lacking


def _begin(transaction: WriteTransaction, job: JobId, token: int, rebuild: bool) -> None:
    connection = transaction.connection
    held: Any = connection.execute(_SQL["find_fence"], (job,)).fetchall()
    if held and (held[0][0] > token or held[0][:2] == (token, _DONE)):
        raise LeaseLost("another worker has taken up this reindex, or it is done")
    if rebuild and not (held and held[0][0] == token):
        for table in _CLEARED:
            connection.execute(_SQL[f"clear_{table}"])
        connection.execute(_SQL["note_complete"], (0,))
        transaction.renew_definitions()
    generation = transaction.definitions.generation
    connection.execute(_SQL["take_fence"], (job, token, generation))


def _fence(connection: apsw.Connection, job: JobId, token: int) -> Fence:
    """Raises LeaseLost if the work is another's, or done."""
    rows: Any = connection.execute(_SQL["find_fence"], (job,)).fetchall()
    if not rows or rows[0][0] != token or rows[0][1] == _DONE:
        raise LeaseLost("another worker has taken up this reindex, or it is done")
    return Fence(*rows[0])


def _fitting(sizes: list[int]) -> int:
    """How many of these fit into a step; at least one, if there is one."""
    fitting = sum(total <= STEP_BYTES_MAX for total in accumulate(sizes))
    return max(fitting, min(len(sizes), 1))


def _write(transaction: WriteTransaction, job: JobId, token: int, found: Found) -> Reindexed:
    """Unless the work moved on without us, or the definitions changed: then nothing was done,
    and the next step sees to it."""
    connection = transaction.connection
    generation = transaction.definitions.generation
    if _fence(connection, job, token) != found.before or found.generation != generation:
        return Reindexed(done=False, looked=0, fixed=0)
    if not found.looked:
        connection.execute(_SQL["note_complete"], (generation,))
        connection.execute(_SQL["close_fence"], (job,))
        return Reindexed(done=True, looked=0, fixed=0)
    fixed = _insert(transaction, found)
    connection.execute(_SQL["move_fence"], (job, generation, found.cursor))
    return Reindexed(done=False, looked=found.looked, fixed=fixed)


def _insert(transaction: WriteTransaction, found: Found) -> int:
    connection = transaction.connection
    rids = msgspec.json.encode([rid for rid, *_ in found.resources]).decode()
    rows: Any = connection.execute(_SQL["still_current"], (rids, found.generation)).fetchall()
    current = {rid for (rid,) in rows}
    live = [
        value
        for rid, res, type, id in found.resources
        if rid in current
        for value in (res, rid, transaction.keys.target(type, id), found.generation)
    ]
    insert(connection, "live", live)
    numbers = [res if rid in current else 0 for rid, res, *_ in found.resources]
    insert_batch(connection, transaction.known, found.postings, numbers)
    return len(current)
