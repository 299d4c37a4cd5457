"""Writer: turns one producer's batches into one recorded part.

Runs in the nursery of its part. Records the part, or raises.
"""

from collections.abc import Callable

import trio

from engine.errors import PartIncomplete
from engine.model import Batch, FinalizedPart, Lease, Part, PartEnd, PartKey, StoredFile
from engine.ports import ExportWork, OutputStore
from engine.tenant import TenantKey

BatchReceiver = trio.MemoryReceiveChannel[Batch | PartEnd]


class Writer:
    """Owns one open sink."""

    def __init__(
        self,
        outputs: OutputStore,
        work: ExportWork,
        part: Part,
        *,
        lease: Lease,
        tenant: TenantKey,
        moved: Callable[[], None],
    ) -> None:
        self._outputs = outputs
        self._work = work
        self._part = part
        self._lease = lease
        self._key = PartKey(
            tenant=tenant,
            job=lease.job,
            kind=part.kind,
            type=part.type,
            index=part.index,
            token=lease.token,
        )
        self._moved = moved
        self._rows = 0
        self._bytes = 0

    async def run(self, batches: BatchReceiver) -> FinalizedPart:
        """Write, finalize, record. Raises PartIncomplete, OutputFull, LeaseLost.

        Whenever it ends without a record, nothing is visible. A finished file may lie
        there then; only the store knows whether it is recorded, so the job asks it later.
        """
        # Not `async with`, for the producer's reason: no checkpoint may come between an error
        # and the nursery that must hear of it.
        with batches:
            file = await self._write(batches)
        part = FinalizedPart(
            number=self._part.number,
            kind=self._part.kind,
            type=self._part.type,
            index=self._part.index,
            rows=self._rows,
            token=self._lease.token,
            file=file,
        )
        await self._work.record_part(self._lease, part)
        return part

    async def _write(self, batches: BatchReceiver) -> StoredFile | None:
        """The finished file; None, and no file was ever opened, if there are no rows."""
        message = await self._next(batches)
        while isinstance(message, Batch) and message.size_bytes == 0:
            message = await self._next(batches)
        if isinstance(message, PartEnd):
            return None
        async with self._outputs.open_part(self._key) as sink:
            while isinstance(message, Batch):
                await sink.append(message)
                self._moved()
                message = await self._next(batches)
            file = await sink.finalize()
        assert file.bytes == self._bytes, "the output store lost or added bytes"
        return file

    async def _next(self, batches: BatchReceiver) -> Batch | PartEnd:
        """The next message, counted. Raises PartIncomplete if the end is missing."""
        try:
            message = await batches.receive()
        except trio.EndOfChannel:
            raise PartIncomplete(
                f"the {self._part.type} part {self._part.index} ended before it was complete"
            ) from None
        if isinstance(message, PartEnd):
            assert (message.rows, message.bytes) == (self._rows, self._bytes), "rows went missing"
        else:
            self._rows += message.rows
            self._bytes += message.size_bytes
        return message
