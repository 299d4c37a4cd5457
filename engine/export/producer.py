"""Producer: streams the batches of one part into a channel.

Started in the nursery of its part. Sends PartEnd last; a channel that closes without it
says that the part is incomplete.
"""

from collections.abc import Callable

import trio

from engine.errors import StoreUnavailable
from engine.fhir.outcome import outcome_line
from engine.model import Batch, ExportRequest, FileKind, Part, PartEnd, Snapshot
from engine.ports import BulkReader

# One batch waits while one is read and one is written: with batches of a few MiB that is
# all the memory a part takes.
BATCHES_WAITING_MAX = 1

BatchSender = trio.MemorySendChannel[Batch | PartEnd]


class Producer:
    """Owns one stream of the resource store."""

    def __init__(
        self,
        store: BulkReader,
        part: Part,
        *,
        request: ExportRequest,
        snapshot: Snapshot,
        moved: Callable[[], None],
    ) -> None:
        self._store = store
        self._part = part
        self._request = request
        self._snapshot = snapshot
        self._moved = moved

    async def run(self, batches: BatchSender) -> None:
        """Send every batch, then PartEnd. Raises SnapshotGone, StoreUnavailable.

        Cancelled: the query is stopped and the channel closed without PartEnd.
        """
        # Not `async with`: its checkpoint would let the cancel that our own close provokes
        # take the place of the error that closed it.
        with batches:
            if self._part.kind is FileKind.ERROR:
                await self._send_messages(batches)
            else:
                await self._send_rows(batches)

    async def _send_rows(self, batches: BatchSender) -> None:
        async with self._store.stream(self._part, self._request, self._snapshot) as stream:
            while True:
                message = await stream.read()
                self._moved()
                await batches.send(message)
                if isinstance(message, PartEnd):
                    return
        # A context manager may swallow exceptions as far as types can tell.
        raise StoreUnavailable("the stream ended without its end")

    async def _send_messages(self, batches: BatchSender) -> None:
        lines = tuple(outcome_line(issue) for issue in self._request.issues)
        await batches.send(Batch(lines, len(lines)))
        await batches.send(PartEnd(len(lines), sum(map(len, lines))))
