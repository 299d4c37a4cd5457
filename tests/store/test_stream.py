"""Streams: exact lines in bounded batches, whatever the sizes of the rows."""

import threading
from collections.abc import AsyncIterator, Sequence

import apsw
import pytest
import trio
import trio.testing

from backends.sqlite import stream
from backends.sqlite.tenant_store import SqliteTenantStore
from engine.model import Batch, ExportRequest, JobId, Part, PartEnd, Prepared, Snapshot
from tests.store.conftest import Site
from tests.support.builders import numbered, prepared

MIB = 1 << 20
ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"


def sized(id: str, size_bytes: int) -> Prepared:
    return prepared(id=id, members=b'"text":"' + b"x" * size_bytes + b'"')


async def read(
    store: SqliteTenantStore, part: Part, snapshot: Snapshot, request: ExportRequest | None = None
) -> tuple[list[Batch], PartEnd]:
    batches = []
    async with store.stream(part, request or ExportRequest(), snapshot) as lines:
        while not isinstance(message := await lines.read(), PartEnd):
            batches.append(message)
    return batches, message


def text(batches: Sequence[Batch]) -> bytes:
    return b"".join(chunk for batch in batches for chunk in batch.chunks)


async def written(store: SqliteTenantStore, resources: Sequence[Prepared]) -> bytes:
    """Store them one by one, and return the lines that an export must give."""
    lines = [(await store.update(resource)).version.body for resource in resources]
    return b"".join((line or b"") + b"\n" for line in lines)


SKEWS = {
    "one of 16 MiB": [16 * MIB - 300],
    "5 and 16 MB among small ones": [10, 20, 5_000_000, 30, 16_000_000, 40, 50],
    "many of 1 MiB": [MIB] * 9,
    "at the limits of a batch": [4 * MIB - 100, 4 * MIB, 4 * MIB + 100, 6 * MIB, 1],
    "small, then all large": [100] * 500 + [3 * MIB] * 4,
    "exactly a piece": [MIB - 93, 2 * MIB - 93, 8 * MIB - 93],
}


@pytest.mark.parametrize("sizes", SKEWS.values(), ids=SKEWS.keys())
async def test_batches_are_bounded_and_exact_with_any_skew(
    store: SqliteTenantStore, sizes: list[int]
) -> None:
    resources = [sized(str(number), size) for number, size in enumerate(sizes)]
    expected = await written(store, resources)
    snapshot = await store.open_snapshot(JobId("1"))
    # An estimate that is far off, so that the first batch is meant to be far too large.
    part = Part(
        number=0, type="Patient", index=1, first=1 << 40, last=1 << 40 | snapshot.seq,
        rows_estimate=1000, bytes_estimate=1000,
    )  # fmt: skip
    batches, end = await read(store, part, snapshot)
    assert text(batches) == expected
    bytes_max = stream.BATCH_BYTES + stream.STATEMENT_BYTES_MAX
    assert max(batch.size_bytes for batch in batches) < bytes_max
    assert end == PartEnd(len(sizes), len(expected))
    assert sum(batch.rows for batch in batches) == len(sizes)


async def test_a_long_line_is_counted_where_it_ends(store: SqliteTenantStore) -> None:
    await store.update(sized("long", 16_000_000))
    snapshot = await store.open_snapshot(JobId("1"))
    (part,) = await store.plan(ExportRequest(), snapshot, 64 * MIB)
    batches, _ = await read(store, part, snapshot)
    assert [batch.rows for batch in batches] == [0] * (len(batches) - 1) + [1]
    assert max(len(chunk) for batch in batches for chunk in batch.chunks) <= stream.PIECE_BYTES


async def test_a_long_line_that_is_replaced_meanwhile_comes_as_it_was(
    store: SqliteTenantStore,
) -> None:
    expected = await written(store, [sized("long", 16_000_000)])
    snapshot = await store.open_snapshot(JobId("1"))
    (part,) = await store.plan(ExportRequest(), snapshot, 64 * MIB)
    batches = []
    async with store.stream(part, ExportRequest(), snapshot) as lines:
        while not isinstance(message := await lines.read(), PartEnd):
            batches.append(message)
            await store.update(sized("long", 10))
    assert text(batches) == expected


async def test_what_does_not_match_is_passed_in_bounded_steps(
    store: SqliteTenantStore, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK_ROWS_MAX", 50)
    await store.ingest(numbered("Patient", 1000))
    site.clock.advance(1)
    expected = await written(store, [prepared(id="7"), prepared(id="new")])
    since_ms = site.clock.now_ms() - 1
    snapshot = await store.open_snapshot(JobId("1"))
    whole = Part(number=0, type="Patient", index=1, first=1 << 40, last=1 << 40 | snapshot.seq)
    batches, end = await read(store, whole, snapshot, ExportRequest(since_ms=since_ms))
    assert text(batches) == expected
    assert end.rows == 2
    assert len(batches) > 15, "empty batches let a cancel and the progress through"


async def test_plans_cut_large_stores_and_their_parts_give_everything_once(
    store: SqliteTenantStore,
) -> None:
    for number in range(4):  # with an extent each, and single rows in between
        await store.ingest(numbered("Patient", 1200, first=1200 * number, padding=300))
        await store.update(prepared(id=f"single-{number}"))
    snapshot = await store.open_snapshot(JobId("1"))
    await store.ingest(numbered("Patient", 2000, first=9000))
    parts = await store.plan(ExportRequest(), snapshot, MIB // 2)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [part.index for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) >= 3
    lines = b"".join([text((await read(store, part, snapshot))[0]) for part in parts]).splitlines()
    assert len(lines) == len(set(lines)) == 4804
    assert sum(part.rows_estimate for part in parts) == 4804


async def test_a_plan_that_made_extents_is_the_same_again(store: SqliteTenantStore) -> None:
    for number in range(30):  # too few at a time for an extent
        await store.ingest(numbered("Patient", 30, first=30 * number, padding=8000))
    snapshot = await store.open_snapshot(JobId("1"))
    part_bytes = 16 * MIB
    plans = [await store.plan(ExportRequest(), snapshot, part_bytes) for _ in range(3)]
    assert plans[0] == plans[1] == plans[2]
    extents = await store._file.points.call(
        lambda connection: connection.execute("SELECT count(*) FROM extent").get
    )
    assert extents > 2


@pytest.fixture
async def threaded_store(threaded: Site) -> AsyncIterator[SqliteTenantStore]:
    async with threaded.open() as store:
        yield store


async def test_a_cancel_stops_a_long_query(threaded_store: SqliteTenantStore) -> None:
    token, begun = trio.lowlevel.current_trio_token(), trio.Event()

    def scan(connection: apsw.Connection) -> None:
        token.run_sync_soon(begun.set)
        connection.execute(ENDLESS).fetchall()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threaded_store._file.scans.call, scan)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert (await threaded_store._file.scans.call(_one)) == 1, "the connection is good again"


async def test_a_cancel_just_before_a_query_begins_is_not_lost(
    threaded_store: SqliteTenantStore,
) -> None:
    token, begun, go_on = trio.lowlevel.current_trio_token(), trio.Event(), threading.Event()

    def scan(connection: apsw.Connection) -> None:
        token.run_sync_soon(begun.set)
        go_on.wait()
        connection.execute(ENDLESS).fetchall()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threaded_store._file.scans.call, scan)
        await begun.wait()
        nursery.cancel_scope.cancel()
        go_on.set()
    assert nursery.cancel_scope.cancelled_caught  # an endless query ended


async def test_a_query_that_a_cancel_garbles_while_it_is_prepared_is_only_cancelled(
    threaded_store: SqliteTenantStore,
) -> None:
    token, begun, go_on = trio.lowlevel.current_trio_token(), trio.Event(), threading.Event()

    def fail(connection: apsw.Connection) -> None:
        token.run_sync_soon(begun.set)
        go_on.wait()
        connection.execute("SELECT nonsense").fetchall()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threaded_store._file.scans.call, fail)
        await begun.wait()
        nursery.cancel_scope.cancel()
        go_on.set()
    go_on.set()
    with pytest.raises(apsw.SQLError):
        await threaded_store._file.scans.call(fail)


async def test_a_stream_left_in_the_middle_leaves_nothing_open(site: Site) -> None:
    async with site.open() as store:
        await store.ingest(numbered("Patient", 3000, padding=2000))
        snapshot = await store.open_snapshot(JobId("1"))
        (part,) = await store.plan(ExportRequest(), snapshot, 64 * MIB)
        with trio.CancelScope() as scope:
            async with store.stream(part, ExportRequest(), snapshot) as lines:
                await lines.read()
                scope.cancel()
                await lines.read()
        assert scope.cancelled_caught
        _, end = await read(store, part, snapshot)
        assert end.rows == 3000
    assert site.open_files() == []


def _one(connection: apsw.Connection) -> int:
    return int(connection.execute("SELECT 1").get)
