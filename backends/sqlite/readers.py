"""Readers: the pool of read connections of one tenant's file.

A connection is borrowed for one call and never holds a read transaction longer, so that
the WAL can start over and a crash of the borrower leaves nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import apsw
import trio

from backends.door import Door, Interrupted
from backends.sqlite.connection import READER, Tuning, open_connection, translating
from backends.sqlite.gate import Gate

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# sqlite3_interrupt is lost on a statement that is about to begin; this look is not.
STEPS_BETWEEN_LOOKS = 100_000


class Readers:
    """At most `connections_max` connections, opened as they are needed and kept."""

    def __init__(
        self,
        path: Path,
        *,
        door: Door,
        gate: Gate,
        connections_max: int,
        tuning: Tuning = READER,
    ) -> None:
        self._path = path
        self._door = door
        self._gate = gate
        self._tuning = tuning
        self._places = trio.Semaphore(connections_max)
        self._idle: list[_Reader] = []

    async def call(self, function: Callable[[apsw.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a read. Cancelled: its statement is stopped and waited for. The function must
        have read all its rows when it returns."""
        async with self._places:
            await self._gate.enter()
            reader = self._idle.pop() if self._idle else _Reader(self._path, self._tuning)
            try:
                return await self._door.call(
                    lambda: reader.run(lambda connection: function(connection, *args)),
                    interrupt=reader.stop,
                )
            finally:
                # Here, not in the thread: as long as `stop` can come, it is ours.
                reader.stopped = False
                self._idle.append(reader)
                self._gate.leave()

    def close(self) -> None:
        """Blocks. Once nobody calls any more."""
        for reader in self._idle:
            reader.close()
        self._idle.clear()


class _Reader:
    """One connection, opened by the thread that needs it first."""

    def __init__(self, path: Path, tuning: Tuning) -> None:
        self._path = path
        self._tuning = tuning
        self._connection: apsw.Connection | None = None
        self.stopped = False

    def run(self, function: Callable[[apsw.Connection], T]) -> T:
        """In the door's thread."""
        with translating(self._path):
            if self._connection is None:
                self._connection = open_connection(self._path, self._tuning)
                self._connection.set_progress_handler(lambda: self.stopped, STEPS_BETWEEN_LOOKS)
            if self.stopped:
                raise Interrupted(f"{self._path.name}: stopped on request")
            try:
                result = function(self._connection)
            except apsw.SQLError as error:
                # Interrupted while it was being prepared, a statement fails with any
                # message (seen: "expected 0 columns for '' but got 6").
                if self.stopped:
                    raise Interrupted(f"{self._path.name}: stopped on request") from error
                raise
            assert self._connection.txn_state() == apsw.SQLITE_TXN_NONE, "rows were left unread"
            return result

    def stop(self) -> None:
        """In the loop, while `run` runs or is about to."""
        self.stopped = True
        if self._connection is not None:
            self._connection.interrupt()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
