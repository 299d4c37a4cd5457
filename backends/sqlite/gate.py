"""Gate: where reads and writes of one tenant's file wait while its WAL starts over.

SQLite restarts a WAL only in a moment when every frame is copied and nobody reads
from it. Under a steady export and load that moment never comes by itself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Gate:
    """Open, but for short times. Counts who is inside."""

    def __init__(self) -> None:
        self._inside = 0
        self._opened = trio.Event()
        self._opened.set()
        self._emptied = trio.Event()

    async def enter(self) -> None:
        """Wait until the gate is open. Followed by `leave`, whatever happens. Not always a
        checkpoint: what is done inside is."""
        while not self._opened.is_set():
            await self._opened.wait()
        self._inside += 1

    def leave(self) -> None:
        """Once for every `enter`."""
        self._inside -= 1
        if self._inside == 0:
            self._emptied.set()

    @asynccontextmanager
    async def closed(self, seconds_max: float) -> AsyncIterator[trio.Event]:
        """Let nobody in during the block, but at most for so long: the event tells that it
        was too long. One block at a time."""
        assert self._opened.is_set()
        opened = self._opened = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_set_later, opened, seconds_max)
                yield opened
                nursery.cancel_scope.cancel()
        finally:
            opened.set()

    async def wait_empty(self, seconds_max: float) -> bool:
        """Wait for those inside to leave. Returns whether they did in time."""
        with trio.move_on_after(seconds_max):
            while self._inside:
                self._emptied = trio.Event()
                await self._emptied.wait()
        return self._inside == 0


async def _set_later(event: trio.Event, seconds: float) -> None:
    await trio.sleep(seconds)
    event.set()
