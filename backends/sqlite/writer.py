"""Writer: the one actor that writes a tenant's file in this process.

Requests that wait are applied together in one transaction, each in its own savepoint,
so that they share the fsync of one COMMIT. An answer goes out after it. A started
transaction is never interrupted: that would roll back everybody's work.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import apsw
import msgspec
import outcome
import trio

from backends.door import Door
from backends.sqlite.checkpoint import Checkpointer
from backends.sqlite.connection import Tuning, open_connection
from backends.sqlite.gate import Gate
from backends.sqlite.transaction import Operation, Request, Target, apply_group
from engine.errors import StoreUnavailable
from engine.limits import MIB

R = TypeVar("R")

GROUP_REQUESTS_MAX = 256
QUEUE_BYTES_MAX = 16 * MIB  # of waiting batches; four of the recommended size
WAL_KEPT_BYTES = 64 * MIB  # what a restarted WAL file is cut down to
WRITER_CACHE_KIB = 32 * 1024  # random ids touch `versions` all over; 64 MiB gained nothing more


class WriterStatistics(msgspec.Struct, frozen=True):
    """What a writer has before it."""

    requests: int  # not begun
    bytes: int  # of those, and of the group that is being applied


class _Queued(Request[R]):
    """A request on its way through the actor."""

    def __init__(self, operation: Operation[R], size_bytes: int) -> None:
        super().__init__(operation)
        self.size_bytes = size_bytes
        self.answered = trio.Event()


class Writer:
    """Owns the file's one write connection of this process. `run` is started by whoever
    opens the store; `apply` is for everybody."""

    def __init__(
        self,
        target: Target,
        *,
        door: Door,
        gate: Gate,
        checkpointer: Checkpointer,
        set_up: Callable[[apsw.Connection], None],
        cache_kib: int = WRITER_CACHE_KIB,
    ) -> None:
        self._target = target
        self._path = target.path
        self._door = door
        self._gate = gate
        self._checkpointer = checkpointer
        self._set_up = set_up  # what operations expect of a new connection
        self._tuning = Tuning(cache_kib=cache_kib)
        self._connection: apsw.Connection | None = None
        self._wal_pages = 0
        self._waiting: deque[_Queued[Any]] = deque()
        self._group: list[_Queued[Any]] = []
        self._waiting_bytes = 0
        self._arrived = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._closing = False
        self._ended = trio.Event()

    async def apply(self, operation: Operation[R], *, size_bytes: int = 0) -> R:
        """Do `operation` in a transaction, durably, and return what it returned.

        What it raises undoes it and nothing else. It may be applied again after another
        request broke the transaction, so it must have no effect outside of it. Cancelled
        while it waits: it never happens. Cancelled later: it happens unless it fails.
        """
        await trio.lowlevel.checkpoint()
        while not self._has_room(size_bytes) and not self._closing:
            await self._room.park()
        if self._closing:
            raise StoreUnavailable(f"{self._path.name}: is being closed")
        request = _Queued(operation, size_bytes)
        self._waiting.append(request)
        self._waiting_bytes += size_bytes
        self._arrived.set()
        try:
            await request.answered.wait()
        finally:
            request.gone = True
        assert request.answer is not None
        return request.answer.unwrap()

    async def run(self) -> None:
        """Serve until `close`, and then what still waits. Cancelled: a started group runs
        out, the others are refused."""
        try:
            while await self._wait_group():
                await self._checkpointer.wait_room()
                self._group = self._next_group()
                await self._gate.enter()
                try:
                    await self._door.call(self._apply_group)
                finally:
                    self._gate.leave()
                self._answer_group()
        finally:
            self._refuse_rest()
            self._ended.set()

    def statistics(self) -> WriterStatistics:
        """How much waits now."""
        return WriterStatistics(requests=len(self._waiting), bytes=self._waiting_bytes)

    def close(self) -> None:
        """Take no more requests; `run` ends when the waiting ones are done."""
        self._closing = True
        self._arrived.set()
        self._room.unpark_all()

    async def wait_ended(self) -> None:
        """Block until `run` has ended."""
        await self._ended.wait()

    def open_connection(self) -> None:
        """Blocks. Before `run`."""
        connection = self._connection = open_connection(self._path, self._tuning)
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        connection.set_wal_hook(self._note_wal)
        self._set_up(connection)

    def close_connection(self) -> None:
        """Blocks. Once `run` has ended."""
        if self._connection is not None:
            self._connection.close()

    # In the loop.

    def _has_room(self, size_bytes: int) -> bool:
        """Bounded in requests and in bytes; one that is larger than all the room goes alone."""
        if len(self._waiting) >= 2 * GROUP_REQUESTS_MAX:
            return False
        return not self._waiting_bytes or self._waiting_bytes + size_bytes <= QUEUE_BYTES_MAX

    async def _wait_group(self) -> bool:
        """Block until there is a request; False when there will be none any more."""
        while not self._waiting:
            if self._closing:
                return False
            self._arrived = trio.Event()
            await self._arrived.wait()
        return True

    def _next_group(self) -> list[_Queued[Any]]:
        """Requests to try in one transaction. Those whose caller is gone are forgotten."""
        group: list[_Queued[Any]] = []
        while self._waiting and len(group) < GROUP_REQUESTS_MAX:
            request = self._waiting.popleft()
            if request.gone:
                self._forget_size(request)
            else:
                group.append(request)
        return group

    def _answer_group(self) -> None:
        """Wake those that are done; the others ran out of time and come first next time."""
        group, self._group = self._group, []
        for request in group:
            if request.answer is not None:
                self._forget_size(request)
                request.answered.set()
        self._waiting.extendleft(r for r in reversed(group) if r.answer is None)
        self._checkpointer.note_wal(self._wal_pages)

    def _forget_size(self, request: _Queued[Any]) -> None:
        self._waiting_bytes -= request.size_bytes
        self._room.unpark_all()

    def _refuse_rest(self) -> None:
        """Nobody may wait for an actor that has ended."""
        self.close()
        for request in (*self._group, *self._waiting):
            if request.answer is None:
                request.answer = outcome.Error(
                    StoreUnavailable(f"{self._path.name}: was closed before this was done")
                )
            request.answered.set()
        self._group.clear()
        self._waiting.clear()

    # In the door's thread.

    def _note_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _apply_group(self) -> None:
        assert self._connection is not None
        apply_group(self._connection, self._target, self._group)
