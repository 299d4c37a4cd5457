"""Snapshots, plans and streams of the memory backend."""

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from backends.clock import StoreClock
from backends.memory.state import PinRow, Process, Row, StoreState
from engine.errors import SnapshotGone
from engine.model import Batch, ExportRequest, JobId, Part, PartEnd, Pin, Snapshot

NEWLINE = b"\n"


class MemoryBulk:
    """BulkReader of one tenant."""

    def __init__(self, process: Process, store: StoreState) -> None:
        self._process = process
        self._store = store

    async def open_snapshot(self, job: JobId) -> Snapshot:
        """See BulkReader."""
        return await self._process.effect(lambda: self._cut(job))

    async def close_snapshot(self, job: JobId) -> None:
        """See BulkReader."""
        await self._process.effect(lambda: self._store.pins.pop(job, None))

    async def pins(self) -> Sequence[Pin]:
        """See BulkReader."""
        return await self._process.look(self._list_pins)

    async def plan(
        self, request: ExportRequest, snapshot: Snapshot, part_bytes: int
    ) -> tuple[Part, ...]:
        """See BulkReader."""
        return await self._process.look(
            lambda: _plan(self._store, request, self._checked(snapshot), part_bytes)
        )

    @asynccontextmanager
    async def stream(
        self, part: Part, request: ExportRequest, snapshot: Snapshot
    ) -> AsyncIterator["MemoryStream"]:
        """See BulkReader."""
        rows = await self._process.look(
            lambda: _rows_of(self._store, part, request, self._checked(snapshot))
        )
        self._process.open_streams += 1
        try:
            yield MemoryStream(self._process, rows)
        finally:
            self._process.open_streams -= 1

    def _cut(self, job: JobId) -> Snapshot:
        store = self._store
        if job not in store.pins:
            clock = self._process.world.clock
            store.cut_ms = max(clock.now_ms(), store.cut_ms, store.last_ms)
            snapshot = Snapshot(store.id, store.seq, store.cut_ms)
            store.pins[job] = PinRow(snapshot, clock.boot_id(), clock.lease_now())
        return store.pins[job].snapshot

    def _list_pins(self) -> list[Pin]:
        clock = self._process.world.clock
        return [
            Pin(job, pin.snapshot, _age_ms(pin, clock) / 1000)
            for job, pin in self._store.pins.items()
        ]

    def _checked(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.store != self._store.id:
            raise SnapshotGone("the store was restored or replaced since this job was started")
        return snapshot


class MemoryStream:
    """The rows of one part, in batches of as many rows as the world likes."""

    def __init__(self, process: Process, rows: list[Row]) -> None:
        self._process = process
        self._rows = deque(rows)
        self._pieces: deque[Batch] = deque()  # of a line too long for one batch
        self._given = PartEnd(0, 0)

    async def read(self) -> Batch | PartEnd:
        """See PartStream."""
        return await self._process.look(self._next)

    def _next(self) -> Batch | PartEnd:
        if not self._rows and not self._pieces:
            return self._given
        batch = self._pieces.popleft() if self._pieces else self._run()
        self._given = PartEnd(self._given.rows + batch.rows, self._given.bytes + batch.size_bytes)
        return batch

    def _run(self) -> Batch:
        """The next rows. A row that is too long comes alone, in pieces."""
        chunks: list[bytes] = []
        rows = 0
        wanted = self._process.world.batch_rows()
        while self._rows and rows < wanted:
            body = _body(self._rows[0])
            if len(body) > self._process.world.piece_bytes_max:
                if rows == 0:
                    self._rows.popleft()
                    self._pieces.extend(self._split(body))
                    return self._pieces.popleft()
                break
            self._rows.popleft()
            chunks += [body, NEWLINE]
            rows += 1
        return Batch(tuple(chunks), rows)

    def _split(self, body: bytes) -> Iterator[Batch]:
        size = self._process.world.piece_bytes_max
        for start in range(0, len(body), size):
            yield Batch((body[start : start + size],), 0)
        yield Batch((NEWLINE,), 1)


def _age_ms(pin: PinRow, clock: StoreClock) -> int:
    """At least: a pin of an earlier boot is as old as this boot, or older."""
    now_ms = clock.lease_now()
    return now_ms - pin.made_ms if pin.boot == clock.boot_id() else now_ms


def _plan(
    store: StoreState, request: ExportRequest, snapshot: Snapshot, part_bytes: int
) -> tuple[Part, ...]:
    parts: list[Part] = []
    for type in sorted(set(request.types or store.type_numbers)):
        matching = [row for row in store.rows if _matches(row, type, request, snapshot)]
        for index, run in enumerate(_runs(matching, part_bytes), start=1):
            parts.append(
                Part(
                    number=len(parts),
                    type=type,
                    index=index,
                    first=run[0].rid,
                    last=run[-1].rid,
                    rows_estimate=len(run),
                    bytes_estimate=sum(map(_line_bytes, run)),
                )
            )
    return tuple(parts)


def _runs(rows: list[Row], part_bytes: int) -> Iterator[list[Row]]:
    """Runs of at most `part_bytes`, or of one row."""
    run: list[Row] = []
    size_bytes = 0
    for row in rows:
        if run and size_bytes + _line_bytes(row) > part_bytes:
            yield run
            run, size_bytes = [], 0
        run.append(row)
        size_bytes += _line_bytes(row)
    if run:
        yield run


def _rows_of(
    store: StoreState, part: Part, request: ExportRequest, snapshot: Snapshot
) -> list[Row]:
    return [
        row
        for row in store.rows
        if part.first <= row.rid <= part.last and _matches(row, part.type, request, snapshot)
    ]


def _matches(row: Row, type: str, request: ExportRequest, snapshot: Snapshot) -> bool:
    updated_ms = row.version.updated_ms
    return (
        row.version.type == type
        and row.visible(snapshot)
        and (request.since_ms is None or updated_ms > request.since_ms)
        and (request.until_ms is None or updated_ms <= request.until_ms)
    )


def _body(row: Row) -> bytes:
    assert row.version.body is not None  # a deletion is never visible
    return row.version.body


def _line_bytes(row: Row) -> int:
    return len(_body(row)) + len(NEWLINE)
