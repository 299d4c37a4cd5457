"""Checkpointer: the actor that copies the WAL back into a tenant's file.

Passive checkpoints on a connection of their own: nobody's commit waits for one. That
alone never makes a WAL shorter while an export and a load keep it in use, so past a
size everybody waits for a moment outside, in which SQLite can start the WAL over. A
load that outruns the disk waits longer: it alone makes the WAL grow.
"""

from pathlib import Path

import apsw
import trio

from backends.door import Door
from backends.sqlite.connection import PAGE_BYTES, Tuning, open_connection, translating
from backends.sqlite.gate import Gate
from engine.errors import StoreDamaged, StoreUnavailable
from engine.limits import MIB

STEP_BYTES = 16 * MIB  # of new WAL, for one checkpoint: pages written often are copied once
RESTART_BYTES = 256 * MIB
BRAKE_BYTES = 384 * MIB  # the writer goes no further while a restart is being tried
GATE_SECONDS_MAX = 0.2  # that a read or a write waits for a restart
RESTART_TRIES_MAX = 4

_FRAME_BYTES = PAGE_BYTES + 24
assert STEP_BYTES < RESTART_BYTES < BRAKE_BYTES


class Checkpointer:
    """Owns the checkpoint connection. `run` is started by whoever opens the store."""

    def __init__(self, path: Path, *, door: Door, gate: Gate) -> None:
        self._path = path
        self._door = door
        self._gate = gate
        self._connection: apsw.Connection | None = None
        self._wal_bytes = 0
        self._copied_bytes = 0
        self._grown = trio.Event()
        self._restart_tried = trio.Event()
        self._restart_tried.set()

    def note_wal(self, pages: int) -> None:
        """The writer's news after each commit: so long is the WAL now."""
        wal_bytes = pages * _FRAME_BYTES
        if wal_bytes < self._wal_bytes:
            self._copied_bytes = 0  # it has started over
        self._wal_bytes = wal_bytes
        if wal_bytes >= self._copied_bytes + STEP_BYTES:
            self._grown.set()

    async def wait_room(self) -> None:
        """Where the writer waits before each group, if the WAL is far too long."""
        if self._wal_bytes >= BRAKE_BYTES:
            await self._restart_tried.wait()

    async def run(self) -> None:
        """Copy whenever the WAL has grown enough. Ends by being cancelled; a checkpoint
        that runs is stopped."""
        try:
            while True:
                await self._grown.wait()
                self._grown = trio.Event()
                # Noted before it is done: if it fails, the next try comes with more growth.
                self._copied_bytes = self._wal_bytes
                if self._wal_bytes < RESTART_BYTES:
                    await self._checkpoint()
                else:
                    await self._start_over()
        finally:
            self._restart_tried.set()

    def open(self) -> None:
        """Blocks. Before `run`."""
        self._connection = open_connection(self._path, Tuning())

    def close(self) -> None:
        """Blocks. Once `run` has ended."""
        if self._connection is not None:
            self._connection.close()

    async def _start_over(self) -> None:
        """Bring about the moment that SQLite needs: all copied, nobody reading."""
        self._restart_tried = trio.Event()
        try:
            for _ in range(RESTART_TRIES_MAX):
                await self._checkpoint()  # the bulk of it, while everybody goes on
                async with self._gate.closed(GATE_SECONDS_MAX) as opened:
                    await self._gate.wait_empty(GATE_SECONDS_MAX)
                    complete = await self._checkpoint()  # what came meanwhile
                    if complete and not opened.is_set():
                        return
        finally:
            self._restart_tried.set()

    async def _checkpoint(self) -> bool:
        """Copy what can be copied. Returns whether that was all."""
        assert self._connection is not None
        try:
            return await self._door.call(
                self._copy, self._connection, interrupt=self._connection.interrupt
            )
        except (StoreUnavailable, StoreDamaged):
            # A full or failing disk, or damage: the WAL keeps all, and whoever meets the
            # same will be told. One tenant's file must not end the process.
            return False

    def _copy(self, connection: apsw.Connection) -> bool:
        with translating(self._path):
            frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return frames == copied
