"""One tenant's store: a file, its connections and the two actors that keep it.

Several processes may have the same file open. Each has a writer of its own; the file's
lock puts their transactions in order.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Self

import trio

from backends.clock import StoreClock
from backends.definitions import DefinitionsMaker
from backends.sqlite.bulk import Bulk
from backends.sqlite.checkpoint import Checkpointer
from backends.sqlite.connection import Tuning, immediate, open_connection, translating
from backends.sqlite.definitions import SECRET_BYTES, TenantDefinitions
from backends.sqlite.doors import Doors
from backends.sqlite.gate import Gate
from backends.sqlite.history import Histories
from backends.sqlite.index import KnownKeys
from backends.sqlite.ingest import Ingest, create_staging
from backends.sqlite.migrate import TENANT, prepare_file
from backends.sqlite.opened import Find, OpenedFile
from backends.sqlite.prune import Prune
from backends.sqlite.readers import Readers
from backends.sqlite.reindex import Reindex
from backends.sqlite.resources import Resources
from backends.sqlite.search.run import find
from backends.sqlite.search.store import SEARCHER, Search
from backends.sqlite.session import Transact
from backends.sqlite.stream import SCANNER
from backends.sqlite.transaction import Target
from backends.sqlite.writer import Writer

CLOSE_SECONDS_MAX = 30
POINT_CONNECTIONS_MAX = 4
SEARCH_CONNECTIONS_MAX = 4
SCAN_CONNECTIONS_MAX = 8  # jobs at once times lanes, and plans


class SqliteTenantStore(Resources, Histories, Transact, Search, Ingest, Bulk, Reindex, Prune):
    """See engine.ports.TenantStore."""

    def __init__(self, file: OpenedFile) -> None:
        self._file = file


@asynccontextmanager
async def open_tenant_store(
    path: Path,
    *,
    clock: StoreClock,
    doors: Doors,
    new_id: Callable[[], str],
    maker: DefinitionsMaker,
    find: Find = find,
) -> AsyncIterator[SqliteTenantStore]:
    """Open a tenant's file, created if there is none; `new_id` names a new store, `maker`
    makes its search definitions.

    After the block nothing of it is open: what was being written is done, what waited is
    done too, or refused if the block was left by an error or a cancel. Raises
    StoreDamaged, SchemaTooNew, StartupError, StoreUnavailable.
    """
    gate = Gate()
    checkpointer = Checkpointer(path, door=doors.upkeep, gate=gate)
    definitions = TenantDefinitions(maker)
    writer = Writer(
        Target(path=path, clock=clock, definitions=definitions, known=KnownKeys()),
        door=doors.write,
        gate=gate,
        checkpointer=checkpointer,
        set_up=create_staging,
    )
    pools = _Pools.of(path, doors, gate)

    def open_all() -> str:
        store = _prepare(path, new_id, definitions)
        writer.open_connection()
        checkpointer.open()
        return store

    def close_all() -> None:
        pools.close()
        checkpointer.close()
        writer.close_connection()  # the last one of all processes empties the WAL

    try:
        store = await doors.upkeep.call(open_all)
        file = OpenedFile(
            id=store,
            clock=clock,
            doors=doors,
            points=pools.points,
            searches=pools.searches,
            scans=pools.scans,
            writer=writer,
            definitions=definitions,
            find=find,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checkpointer.run)
            nursery.start_soon(writer.run)
            yield SqliteTenantStore(file)
            writer.close()
            await writer.wait_ended()
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
            await doors.upkeep.call(close_all)


@dataclass(frozen=True)
class _Pools:
    """The read connections of a file."""

    points: Readers
    searches: Readers
    scans: Readers

    @classmethod
    def of(cls, path: Path, doors: Doors, gate: Gate) -> Self:
        """Nothing is opened yet."""
        return cls(
            Readers(path, door=doors.read, gate=gate, connections_max=POINT_CONNECTIONS_MAX),
            Readers(
                path,
                door=doors.search,
                gate=gate,
                connections_max=SEARCH_CONNECTIONS_MAX,
                tuning=SEARCHER,
            ),
            Readers(
                path,
                door=doors.scan,
                gate=gate,
                connections_max=SCAN_CONNECTIONS_MAX,
                tuning=SCANNER,
            ),
        )

    def close(self) -> None:
        """Blocks. Once nobody reads any more."""
        for pool in (self.points, self.searches, self.scans):
            pool.close()


def _prepare(path: Path, new_id: Callable[[], str], definitions: TenantDefinitions) -> str:
    """Migrate, give a new file its id and its secret, and number the paths of the definitions.
    Returns the id that it has."""
    prepare_file(path, TENANT)
    connection = open_connection(path, Tuning())
    try:
        with translating(path), immediate(connection):
            connection.execute(
                "INSERT OR IGNORE INTO meta (one, store, seq, cut_ms, last_ms) "
                "VALUES (1, ?, 0, 0, 0)",
                (new_id(),),
            )
            definitions.prepare(connection, token_bytes(SECRET_BYTES))
            return str(connection.execute("SELECT store FROM meta").get)
    finally:
        connection.close()
