"""Three tasks: one cuts files in a thread, one takes what the crew made of the cuts, one stores.

Batches are stored in the order of the files, one after the other.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial

import trio

from engine.limits import MIB
from engine.model import Ingested
from engine.ports import BulkWriter
from web.cli.loading.crew import Hand
from web.cli.loading.cutting import Cut
from web.cli.loading.parsing import Rules, Seen
from web.cli.loading.worker import Batch, Work

WAITING_MAX = 4  # batches that are ready for the store
CUTS_MAX = 2  # that a hand may have, the one it works on included
STORED_ROWS_MAX = 4_000  # at one go: well below 250 ms of the store's writer
STORED_BYTES_MAX = 6 * MIB

Cuts = Generator[Cut, None, None]
Report = Callable[[Batch, Ingested], None]

NOTHING = Ingested(0, 0, 0)


class Pipeline:
    """One load."""

    def __init__(
        self, store: BulkWriter, cuts: Cuts, rules: Rules, crew: Sequence[Hand], report: Report
    ) -> None:
        """`report` is told of each batch once it is durable."""
        self._store = store
        self._cuts = cuts
        self._rules = rules
        self._crew = crew
        self._report = report
        self._seen = Seen()
        self._stopping = self._stopped = False
        self._thread = trio.CapacityLimiter(1)  # its own, so that it waits for no other's work
        self._ready, self._waiting = trio.open_memory_channel[Batch](WAITING_MAX)

    @property
    def stopped(self) -> bool:
        """Whether stop was called before all was read."""
        return self._stopped

    @property
    def stopping(self) -> bool:
        """Whether stop was called."""
        return self._stopping

    def stop(self) -> None:
        """Read no more; what was read is still stored, and `run` returns."""
        self._stopping = True

    async def run(self) -> None:
        """Load everything. Raises what the store raises, WorkerLost; what was reported is in
        the store.

        Cancelled: some more batches may be in the store than were reported.
        """
        deal, dealt = trio.open_memory_channel[tuple[Hand, Cut]](CUTS_MAX * len(self._crew) - 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut, deal)
            nursery.start_soon(self._collect, dealt)
            async with self._waiting:
                async for batch in self._waiting:
                    batches = self._with_others(batch)
                    await self._store_all(batches)
                    if any(batch.redefines for batch in batches):
                        packer = await self._store.packer()
                        for hand in self._crew:  # not waited for: a hand may wait for us
                            nursery.start_soon(hand.renew, packer)

    async def _cut(self, deal: trio.MemorySendChannel[tuple[Hand, Cut]]) -> None:
        cut_next = partial(next, self._cuts, None)
        turn = 0
        try:
            async with deal:
                while not self._stopping:
                    # A thread is waited for, so no file is closed under its feet.
                    cut = await trio.to_thread.run_sync(cut_next, limiter=self._thread)
                    if cut is None:
                        return
                    hand = self._crew[turn % len(self._crew)]
                    turn += 1
                    await deal.send((hand, cut))  # before the hand is: it waits to be emptied
                    await hand.give(cut)
                self._stopped = True
        finally:
            self._cuts.close()

    async def _collect(self, dealt: trio.MemoryReceiveChannel[tuple[Hand, Cut]]) -> None:
        async with self._ready, dealt:
            async for hand, cut in dealt:
                if cut.has_documents:
                    await self._pass_on(hand)
                else:
                    await self._pass_on_lines(hand, cut)

    async def _pass_on(self, hand: Hand) -> None:
        """Of documents, which know themselves what they repeat."""
        last = False
        while not last:
            batch = await hand.take()
            last = batch.last
            await self._ready.send(batch)

    async def _pass_on_lines(self, hand: Hand, cut: Cut) -> None:
        """Of lines, if nothing in them is repeated; otherwise they are done again, here."""
        batches = [await hand.take()]
        while not batches[-1].last:
            batches.append(await hand.take())
        if not self._seen.add_all([run for batch in batches for run in batch.seen]):
            work = Work(self._rules, await self._store.packer())
            batches = await trio.to_thread.run_sync(lambda: list(work.batches(cut, self._seen)))
        for batch in batches:
            await self._ready.send(batch)

    def _with_others(self, batch: Batch) -> list[Batch]:
        """With those that are ready too: they share a transaction."""
        batches = [batch]
        rows, size_bytes = batch.rows, len(batch.packed)
        while rows < STORED_ROWS_MAX and size_bytes < STORED_BYTES_MAX:
            try:
                batch = self._waiting.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            batches.append(batch)
            rows += batch.rows
            size_bytes += len(batch.packed)
        return batches

    async def _store_all(self, batches: Sequence[Batch]) -> None:
        packed = [batch.packed for batch in batches if batch.rows]
        done = await self._store.ingest_packed(packed) if packed else NOTHING
        for batch in batches:
            self._report(batch, done)
            done = NOTHING
