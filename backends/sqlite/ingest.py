"""Ingest: takes a batch of resources in with a handful of statements.

No statement is run per row: each one gives the interpreter lock away, and a thread that
parses the next batch would keep it for milliseconds. The bodies of a batch go in as one
blob, and SQL cuts it up and puts version and time in.
"""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from backends.sqlite.opened import OpenedFile
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


class Round(msgspec.Struct, frozen=True):
    """Resources of which no two have the same type and id."""

    rows: int
    blob: bytes  # heads and tails, one after the other
    types: dict[str, bytes]  # JSON for `stage_type` by the type's name


class Ingest:
    """The batch side of a tenant's store."""

    _file: OpenedFile

    async def ingest(self, resources: Sequence[Prepared]) -> Ingested:
        """See engine.ports.BulkWriter. Cancelled: wholly done or not at all."""
        rounds = await self._file.doors.read.call(prepare_rounds, resources)
        size_bytes = sum(len(round.blob) for round in rounds)
        return await self._file.writer.apply(
            lambda transaction: ingest_rounds(transaction, rounds), size_bytes=size_bytes
        )


def create_staging(connection: apsw.Connection) -> None:
    """Once per write connection."""
    connection.execute(_SQL["create_staging"])


def prepare_rounds(resources: Sequence[Prepared]) -> tuple[Round, ...]:
    """Split before an id that comes again, so that all is written in order."""
    rounds: list[list[Prepared]] = [[]]
    seen: set[tuple[str, str]] = set()
    for resource in resources:
        key = (resource.type, resource.id)
        if key in seen:
            rounds.append([])
            seen.clear()
        seen.add(key)
        rounds[-1].append(resource)
    return tuple(map(_prepare_round, rounds))


def ingest_rounds(transaction: WriteTransaction, rounds: Sequence[Round]) -> Ingested:
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


def _prepare_round(resources: Sequence[Prepared]) -> Round:
    pieces: list[bytes] = []
    lines: dict[str, list[str]] = {}
    position = 1
    for resource in resources:
        head, tail = resource.head, resource.tail
        pieces += (head, tail)
        line = f"{position:010d}{len(head):08d}{len(tail):08d}{resource.id}"
        lines.setdefault(resource.type, []).append(line)
        position += len(head) + len(tail)
    types = {name: msgspec.json.encode(rows) for name, rows in lines.items()}
    return Round(len(resources), b"".join(pieces), types)


def _ingest_round(transaction: WriteTransaction, round: Round) -> Ingested:
    connection = transaction.connection
    _stage(transaction, round)
    if connection.execute("SELECT count(prev) FROM temp.stage").get:
        connection.execute(_SQL["compare"], (round.blob,))
    created, updated, unchanged = connection.execute(_SQL["outcome"]).get
    if created or updated:
        if unchanged:
            connection.execute(_SQL["close_ranks"], (transaction.seq,))
        transaction.take_seq(created + updated)
        _write(transaction, round)
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
    assert seq == transaction.seq + round.rows


def _write(transaction: WriteTransaction, round: Round) -> None:
    connection = transaction.connection
    upd_ms = transaction.stamp()
    connection.execute(_SQL["insert_bodies"], (round.blob, upd_ms, format_instant(upd_ms)))
    connection.execute(_SQL["insert_index"])
    connection.execute(_SQL["supersede"])
    connection.execute(_SQL["count_live"])
    connection.execute(_SQL["insert_extents"], (upd_ms, EXTENT_ROWS_MIN, EXTENT_BYTES_MIN))
