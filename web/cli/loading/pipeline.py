"""One task parses in a thread, one stores: a file is read while the batch before is written."""

from collections.abc import Callable, Generator
from functools import partial

import trio

from engine.model import Ingested
from engine.ports import BulkWriter
from web.cli.loading.parsing import Parsed

# Parsed and not yet stored; with the one being parsed and the one being stored, four of at
# most 4 MiB (or one resource) are in memory.
WAITING_MAX = 2

Batches = Generator[Parsed, None, None]
Report = Callable[[Parsed, Ingested], None]

_NOTHING = Ingested(0, 0, 0)


class Pipeline:
    """One load."""

    def __init__(self, store: BulkWriter, batches: Batches, report: Report) -> None:
        """`report` is told of each batch once it is durable."""
        self._store = store
        self._batches = batches
        self._report = report
        self._parsing = trio.CancelScope()
        self._thread = trio.CapacityLimiter(1)  # its own, so that it waits for no other's work

    @property
    def stopped(self) -> bool:
        """Whether stop was called before all was parsed."""
        return self._parsing.cancelled_caught

    @property
    def stopping(self) -> bool:
        """Whether stop was called."""
        return self._parsing.cancel_called

    def stop(self) -> None:
        """Parse no more; what was parsed is still stored, and `run` returns."""
        self._parsing.cancel()

    async def run(self) -> None:
        """Load everything. Raises what the store raises; what was reported is in the store.

        Cancelled: one more batch may be in the store than was reported.
        """
        send, receive = trio.open_memory_channel[Parsed](WAITING_MAX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._parse, send)
            async with receive:
                async for parsed in receive:
                    await self._take(parsed)

    async def _parse(self, send: trio.MemorySendChannel[Parsed]) -> None:
        parse_next = partial(next, self._batches, None)
        try:
            async with send:
                with self._parsing:
                    # A thread is waited for, so no file is closed under its feet.
                    while parsed := await trio.to_thread.run_sync(parse_next, limiter=self._thread):
                        await send.send(parsed)
        finally:
            self._batches.close()

    async def _take(self, parsed: Parsed) -> None:
        done = await self._store.ingest(parsed.resources) if parsed.resources else _NOTHING
        self._report(parsed, done)
