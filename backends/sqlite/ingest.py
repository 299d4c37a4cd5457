"""Ingest: takes a batch of resources in with a handful of statements.

No statement is run per row: each one gives the interpreter lock away, and a thread that
parses the next batch would keep it for milliseconds. The bodies of a batch go in as one
blob, and SQL cuts it up and puts version and time in.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import apsw

from backends.definitions import SEARCH_PARAMETER
from backends.sqlite.index import insert, insert_batch, replace_rows
from backends.sqlite.live import rows_ahead
from backends.sqlite.opened import OpenedFile
from backends.sqlite.packing import Round, SqlitePacker, extract_again, prepare_rounds, unpack
from backends.sqlite.queries import load_queries
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.types import ensure_type
from engine.instant import format_instant
from engine.limits import MIB
from engine.model import Ingested, Prepared

_SQL: Final = load_queries("ingest")

# Below this a run of one type is not worth an extent of its own.
EXTENT_ROWS_MIN = 1000
EXTENT_BYTES_MIN = MIB // 4


class Ingest:
    """The batch side of a tenant's store."""

    _file: OpenedFile

    async def ingest(self, resources: Sequence[Prepared]) -> Ingested:
        """See engine.ports.BulkWriter. Cancelled: wholly done or not at all."""
        definitions = self._file.definitions
        rounds = await self._file.doors.read.call(
            lambda: prepare_rounds(resources, definitions.newest, definitions.keys)
        )
        size_bytes = sum(len(round.blob) for round in rounds)
        return await self._file.writer.apply(
            lambda transaction: ingest_rounds(transaction, rounds), size_bytes=size_bytes
        )

    async def packer(self) -> SqlitePacker:
        """See engine.ports.BulkWriter."""
        return SqlitePacker(await self._file.points.call(self._file.definitions.recipe))

    async def ingest_packed(self, batches: Sequence[bytes]) -> Ingested:
        """See engine.ports.BulkWriter. Cancelled: wholly done or not at all."""
        return await self._file.writer.apply(
            lambda transaction: ingest_rounds(transaction, chain(*map(unpack, batches))),
            size_bytes=sum(map(len, batches)),
        )


def create_staging(connection: apsw.Connection) -> None:
    """Once per write connection."""
    connection.execute(_SQL["create_staging"])


def ingest_rounds(transaction: WriteTransaction, rounds: Iterable[Round]) -> Ingested:
    """Inside the writer's transaction."""
    total = Ingested(0, 0, 0)
    for round in rounds:
        done = _ingest_round(transaction, round)
        total = Ingested(
            total.created + done.created,
            total.updated + done.updated,
            total.unchanged + done.unchanged,
        )
    return total


def _ingest_round(transaction: WriteTransaction, round: Round) -> Ingested:
    connection = transaction.connection
    if round.generation != transaction.definitions.generation:
        round = extract_again(round, transaction.definitions)
    _stage(transaction, round)
    known = connection.execute("SELECT count(prev) FROM temp.stage").get
    if known:
        connection.execute(_SQL["find_resources"])
        connection.execute(_SQL["compare"], (round.blob,))
    created, updated, unchanged = connection.execute(_SQL["outcome"]).get
    if created or updated:
        if unchanged:
            connection.execute(_SQL["close_ranks"], (transaction.seq,))
        transaction.take_seq(created + updated)
        _write(transaction, round)
        if known:
            _index_written(transaction, round)
        else:
            _index_new(transaction, round)
        if SEARCH_PARAMETER in round.types:
            transaction.redefine()
    return Ingested(created, updated, unchanged)


def _stage(transaction: WriteTransaction, round: Round) -> None:
    """Fill the staging table, one run of numbers per type."""
    connection = transaction.connection
    connection.execute(_SQL["clear_stage"])
    seq = transaction.seq
    for name, lines in round.types.items():
        type_id = ensure_type(connection, name)
        connection.execute(_SQL["stage_type"], (type_id, seq, lines.decode()))
        seq += connection.changes()
    assert seq == transaction.seq + len(round.targets)


def _write(transaction: WriteTransaction, round: Round) -> None:
    connection = transaction.connection
    upd_ms = transaction.stamp()
    connection.execute(_SQL["insert_bodies"], (round.blob, upd_ms, format_instant(upd_ms)))
    connection.execute(_SQL["insert_index"])
    connection.execute(_SQL["supersede"])
    connection.execute(_SQL["count_live"])
    connection.execute(_SQL["insert_extents"], (upd_ms, EXTENT_ROWS_MIN, EXTENT_BYTES_MIN))


def _index_new(transaction: WriteTransaction, round: Round) -> None:
    """Nothing of the round was there before: each resource's number is its version's."""
    rows: Any = transaction.connection.execute(_SQL["written_rids"]).fetchall()
    res = [rid for (rid,) in rows]
    _insert_live(transaction, round, [(place, rid, rid) for place, rid in enumerate(res)])
    insert_batch(transaction.connection, transaction.known, round.postings, res)


def _index_written(transaction: WriteTransaction, round: Round) -> None:
    """Some were there: of those that were live the difference is written, each for itself."""
    connection, definitions = transaction.connection, transaction.definitions
    rows: Any = connection.execute(_SQL["written"]).fetchall()
    live: list[tuple[int, int, int]] = []
    res = [0] * len(rows)
    resources = round.resources()
    for place, ((rid, same, number, indexed, old_body), resource) in enumerate(
        zip(rows, resources, strict=True)
    ):
        if same:
            continue
        live.append((place, number, rid))
        if indexed is None:
            res[place] = number
            continue
        old = definitions.rows(resource.type, old_body)
        new = rows_ahead(resource, definitions)
        replace_rows(
            connection, transaction.known, number, old, new,
            complete=indexed == definitions.generation,
        )  # fmt: skip
    _insert_live(transaction, round, live)
    insert_batch(connection, transaction.known, round.postings, res)


def _insert_live(
    transaction: WriteTransaction, round: Round, written: list[tuple[int, int, int]]
) -> None:
    """Of these places: number of the resource, rid of its version."""
    values = [
        value
        for place, res, rid in written
        for value in (res, rid, round.targets[place], round.generation)
    ]
    insert(transaction.connection, "live", values)
