"""control.db: four connections, each behind a door of its own.

A call through a door is a whole transaction, and a door lets one through at a time, so
transactions of one connection never interleave. Renewals have a connection and a door to
themselves: they queue behind no other work, and wait only for the file's own lock, which
every transaction here holds for milliseconds. Glances are made in the loop's own thread: a
poll that needs no other thread does not wait for a processor behind an export.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple

import apsw
import msgspec
import trio

from backends.clock import StoreClock
from backends.door import Door, InlineDoor, ThreadDoor
from backends.sqlite.connection import (
    READER,
    Tuning,
    open_connection,
    roll_back,
    translating,
)
from backends.sqlite.migrate import CONTROL, prepare_file
from backends.sqlite.queries import load_queries
from backends.sqlite.workers import WorkerLocks
from engine.errors import SettingInvalid, StoreDamaged, StoreUnavailable
from engine.model import WorkerId

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLOSE_SECONDS_MAX = 10  # bound of the shield around closing a connection

# The writer keeps the WAL short, so that a renewal pays for a checkpoint only if nothing but
# renewals happens for a long time.
WRITER: Final = Tuning(autocheckpoint_pages=1000)
RENEWER: Final = Tuning(autocheckpoint_pages=8000)

# A reader waits for nobody in WAL mode but while a crashed process's WAL is recovered.
GLANCER: Final = Tuning(read_only=True, busy_ms=0)

SQL: Final = load_queries("control")

# Tables of jobs that workers hold leases of. The statements that give and take them are the same.
EXPORTS: Final = "export_job"
WORKS: Final = "store_work"


class Session:
    """One connection, and the only way to it."""

    def __init__(
        self, path: Path, connection: apsw.Connection, door: Door, worker: WorkerId, name: str
    ) -> None:
        self._path = path
        self._connection = connection
        self._door = door
        self._mark = {"worker": worker, "connection": name}
        self._number = 0  # of our newest transaction

    async def read(self, body: Callable[[apsw.Connection, *Ts], T], *args: *Ts) -> T:
        """Run `body(connection, *args)` on one state of the file."""
        return await self._door.call(self._observe, body, args)

    async def write(self, body: Callable[[apsw.Connection, *Ts], T], *args: *Ts) -> T:
        """Run `body(connection, *args)` in one transaction, durable on return.

        If it raises, nothing happened. Cancelled before it began: nothing happened, too;
        once begun it runs out and its result is given. A body that changes nothing
        commits nothing, and one that breaks a constraint is a bug: AssertionError.
        Raises StoreUnavailable.
        """
        return await self._door.call(self._transact, body, args)

    async def aclose(self) -> None:
        """Close the connection once it is free. Bounded, also if cancelled."""
        with trio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
            await self._door.call(self._connection.close)

    def _observe(self, body: Callable[[apsw.Connection, *Ts], T], args: tuple[*Ts]) -> T:
        with translating(self._path):
            self._connection.execute("BEGIN")
            try:
                return body(self._connection, *args)
            finally:
                roll_back(self._connection)

    def _transact(self, body: Callable[[apsw.Connection, *Ts], T], args: tuple[*Ts]) -> T:
        connection = self._connection
        with translating(self._path):
            roll_back(connection)  # if an error before could not
            connection.execute("BEGIN IMMEDIATE")
            try:
                changes = connection.total_changes()
                result = body(connection, *args)
                if connection.total_changes() == changes:
                    roll_back(connection)  # nobody is woken by nothing
                    return result
                self._number += 1
                connection.execute(SQL["write_mark"], self._mark | {"number": self._number})
            except apsw.ConstraintError as error:
                roll_back(connection)
                raise AssertionError(f"control.db refuses what cannot be: {error}") from error
            except BaseException:
                roll_back(connection)
                raise
            self._commit()
            return result

    def _commit(self) -> None:
        """Commit. An error does not say whether it happened, so the mark is read back."""
        try:
            self._connection.execute("COMMIT")
        except apsw.Error:
            roll_back(self._connection)
            row = first_row(self._connection, "read_mark", self._mark)
            if row != (self._number,):
                raise


@dataclass(frozen=True, kw_only=True)
class Control:
    """An open control.db. Its sessions never wait for one another here."""

    worker: WorkerId
    clock: StoreClock
    locks: WorkerLocks
    writes: Session
    renewals: Session
    reads: Session
    glances: Session
    changes: "Changes"

    async def glance(self, body: Callable[[apsw.Connection, *Ts], T], *args: *Ts) -> T:
        """Read a few rows by their keys, here and now if the file answers at once."""
        try:
            return await self.glances.read(body, *args)
        except StoreUnavailable:
            return await self.reads.read(body, *args)

    def lease_times(self, seconds: float) -> dict[str, Any]:
        """What a statement that gives a lease of so many seconds needs to know."""
        return self.lease_clock() | {"expires": self.clock.lease_now() + round(seconds * 1000)}

    def lease_clock(self) -> dict[str, Any]:
        """What a statement that judges leases needs to know."""
        return {"boot": self.clock.boot_id(), "now": self.clock.lease_now()}


class Changes:
    """Counts what may have changed, and wakes who waits for it."""

    def __init__(self) -> None:
        self.mark = 1  # above what nobody has seen
        self._event = trio.Event()

    def wake_nowait(self) -> None:
        """Something has changed that a claimer or a keeper wants to know."""
        self.mark += 1
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Until the next change of this process."""
        await self._event.wait()


def make_door(*, inline: bool) -> Door:
    """A door for one connection."""
    return InlineDoor() if inline else ThreadDoor(trio.CapacityLimiter(1))


@asynccontextmanager
async def open_control(
    path: Path, *, worker: WorkerId, clock: StoreClock, locks: WorkerLocks, inline: bool
) -> AsyncIterator[Control]:
    """Open control.db, made or brought up to date first. The worker's lock must be held.

    Raises SchemaTooNew, StoreDamaged, SettingInvalid (it cannot be used), StartupError.
    """
    with _starting(path):
        await make_door(inline=inline).call(prepare_file, path, CONTROL)
    async with (
        _open_session(path, WRITER, worker, "writes", inline=inline) as writes,
        _open_session(path, RENEWER, worker, "renewals", inline=inline) as renewals,
        _open_session(path, READER, worker, "reads", inline=inline) as reads,
        _open_session(path, GLANCER, worker, "glances", inline=True) as glances,
    ):
        with _starting(path):
            await reads.read(_check_pages, path)
            await make_door(inline=inline).call(locks.remove, await writes.write(_bury, locks))
        yield Control(
            worker=worker,
            clock=clock,
            locks=locks,
            writes=writes,
            renewals=renewals,
            reads=reads,
            glances=glances,
            changes=Changes(),
        )


@asynccontextmanager
async def _open_session(
    path: Path, tuning: Tuning, worker: WorkerId, name: str, *, inline: bool
) -> AsyncIterator[Session]:
    door = make_door(inline=inline)
    with _starting(path):
        connection = await door.call(open_connection, path, tuning)
    session = Session(path, connection, door, worker, name)
    try:
        yield session
    finally:
        await session.aclose()


@contextmanager
def _starting(path: Path) -> Iterator[None]:
    """At start, a file that does not answer is one that this program cannot be told to use."""
    try:
        yield
    except StoreUnavailable as error:
        raise SettingInvalid("store", f"{path} cannot be used: {error}") from error


def _check_pages(connection: apsw.Connection, path: Path) -> None:
    """This file is small: read it all, rather than meet its damage in the middle of a job."""
    if connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
        raise StoreDamaged(f"{path}: damaged; restore a backup")


def _bury(connection: apsw.Connection, locks: WorkerLocks) -> list[WorkerId]:
    """Free what dead workers held, and say who they are: their files may go after it. A
    predecessor of our own id is one of them, for we hold its lock."""
    dead = locks.all_dead()
    gone = to_json([locks.own, *dead])
    connection.execute(SQL["forget_marks"], {"workers": gone})
    for table in (EXPORTS, WORKS):
        connection.execute(lease_statement("drop_leases", table), {"workers": gone})
    return dead


def lease_statement(name: str, table: str) -> str:
    """A named statement about the leases of exports, as it is for this table."""
    return SQL[name].replace(EXPORTS, table)


def worker_ids(connection: apsw.Connection, name: str, table: str = EXPORTS) -> list[WorkerId]:
    """The workers that a named statement gives."""
    rows = connection.execute(lease_statement(name, table)).fetchall()
    return [WorkerId(str(worker)) for (worker,) in rows]


def first_row(
    connection: apsw.Connection, name: str, values: Mapping[str, Any], table: str = EXPORTS
) -> tuple[Any, ...] | None:
    """The first row that a named statement gives, if any. The statement is run to its end."""
    rows = connection.execute(lease_statement(name, table), values).fetchall()
    return rows[0] if rows else None


def to_json(value: Any) -> str:
    """A value as the JSON text that a column keeps."""
    return msgspec.json.encode(value).decode()
