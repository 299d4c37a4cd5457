"""BulkReader: plans, and the bytes of their parts."""

import itertools

import msgspec
import pytest
import trio

from engine.errors import SnapshotGone
from engine.model import Batch, ExportRequest, FileKind, Part, PartEnd
from engine.ports import TenantStore
from tests.support.builders import ODD_MEMBERS, body, ndjson, numbered, prepared
from tests.support.clocks import START_MS
from tests.support.exports import PART_BYTES, cut, export, read_part

EVERYTHING = ExportRequest()


async def test_a_plan_has_the_types_in_alphabetical_order(store: TenantStore):
    for type in ("Patient", "Condition", "Observation"):
        await store.create(prepared(type, "a"))
    plan = await store.plan(EVERYTHING, await cut(store), PART_BYTES)
    assert [part.type for part in plan] == ["Condition", "Observation", "Patient"]
    assert [part.number for part in plan] == [0, 1, 2]
    assert [(part.kind, part.index) for part in plan] == [(FileKind.OUTPUT, 1)] * 3


async def test_a_plan_has_the_types_that_were_asked_for(store: TenantStore):
    for type in ("Patient", "Condition", "Observation"):
        await store.create(prepared(type, "a"))
    request = ExportRequest(types=("Patient", "Group", "Condition"))
    exported = await export(store, await cut(store), request)
    assert list(exported) == ["Condition", "Patient"]


async def test_an_empty_store_gives_nothing(store: TenantStore):
    assert await export(store, await cut(store)) == {}


async def test_planning_again_gives_the_same_plan(store: TenantStore):
    await store.ingest([*numbered("Patient", 300, padding=500), *numbered("Group", 40)])
    snapshot = await cut(store)
    plan = await store.plan(EVERYTHING, snapshot, 64 * 1024)
    await store.create(prepared("Patient", "later"))
    assert await store.plan(EVERYTHING, snapshot, 64 * 1024) == plan


async def test_a_large_type_is_cut_into_parts_that_follow_one_another(store: TenantStore):
    batch = numbered("Patient", 2400, padding=3000)
    for first in range(0, len(batch), 600):
        await store.ingest(batch[first : first + 600])
    plan = await store.plan(EVERYTHING, await cut(store), PART_BYTES)
    assert 4 <= len(plan) <= 16  # 7.4 MB in parts of about 1 MiB
    assert [part.index for part in plan] == list(range(1, len(plan) + 1))
    assert all(one.last < next.first for one, next in itertools.pairwise(plan))
    assert sum(part.rows_estimate for part in plan) == pytest.approx(2400, rel=0.2)
    assert sum(part.bytes_estimate for part in plan) == pytest.approx(7_400_000, rel=0.2)


@pytest.mark.parametrize("part_bytes", [64 * 1024, 1 << 20, 1 << 26])
async def test_all_parts_together_are_the_snapshot_in_order(store: TenantStore, part_bytes):
    batch = numbered("Patient", 1200, padding=700)
    await store.ingest(batch)
    expected = {"Patient": ndjson(body(one, 1, START_MS) for one in batch)}
    snapshot = await cut(store)
    assert await export(store, snapshot, part_bytes=part_bytes) == expected


async def test_single_writes_and_batches_are_exported_alike(store: TenantStore):
    batch = numbered("Patient", 1100, padding=100)
    await store.ingest(batch)
    single = [prepared("Patient", f"s{number}") for number in range(20)]
    for resource in single:
        await store.create(resource)
    expected = ndjson(body(one, 1, START_MS) for one in [*batch, *single])
    assert await export(store, await cut(store)) == {"Patient": expected}


async def test_a_part_read_twice_is_equal_byte_for_byte(store: TenantStore):
    await store.ingest(numbered("Patient", 500, padding=300))
    snapshot = await cut(store)
    (part,) = await store.plan(EVERYTHING, snapshot, PART_BYTES)
    first = await read_part(store, part, EVERYTHING, snapshot)
    await store.ingest(numbered("Patient", 300, padding=301))
    await store.delete("Patient", "7")
    assert await read_part(store, part, EVERYTHING, snapshot) == first


async def test_bytes_are_exported_as_they_were_stored(store: TenantStore):
    resource = prepared("Patient", "a", ODD_MEMBERS)
    await store.create(resource)
    exported = await export(store, await cut(store))
    assert exported == {"Patient": body(resource, 1, START_MS) + b"\n"}


async def test_very_long_lines_among_short_ones_come_whole(store: TenantStore):
    batch = [
        prepared("Patient", str(number), b'"text":"' + b"x" * padding + b'"')
        for number, padding in enumerate((10, 1 << 20, 10, 5 << 20, 15 << 20, 10, 10))
    ]
    for resource in batch:
        await store.create(resource)
    snapshot = await cut(store)
    sizes = []
    for part in await store.plan(EVERYTHING, snapshot, 1 << 26):
        async with store.stream(part, EVERYTHING, snapshot) as stream:
            while isinstance(message := await stream.read(), Batch):
                sizes.append(message.size_bytes)
    assert max(sizes) < 8 << 20  # a batch is bounded, whatever a line is
    exported = await export(store, snapshot)
    assert exported == {"Patient": ndjson(body(one, 1, START_MS) for one in batch)}


async def test_since_is_exclusive_and_until_inclusive(store: TenantStore, clock):
    lines = {}
    for second in range(4):
        written = (await store.create(prepared("Patient", str(second)))).version
        lines[second] = written.body + b"\n"
        clock.advance(1)
    request = ExportRequest(since_ms=START_MS, until_ms=START_MS + 2000)
    exported = await export(store, await cut(store), request)
    assert exported == {"Patient": lines[1] + lines[2]}


async def test_since_and_until_alone(store: TenantStore, clock):
    lines = []
    for number in range(3):
        lines.append((await store.create(prepared("Patient", str(number)))).version.body + b"\n")
        clock.advance(1)
    snapshot = await cut(store)
    since = await export(store, snapshot, ExportRequest(since_ms=START_MS + 999))
    until = await export(store, snapshot, ExportRequest(until_ms=START_MS + 999))
    assert since == {"Patient": lines[1] + lines[2]}
    assert until == {"Patient": lines[0]}


async def test_an_interval_without_changes_gives_nothing(store: TenantStore, clock):
    await store.ingest(numbered("Patient", 1500))
    clock.advance(1)
    snapshot = await cut(store)
    assert await export(store, snapshot, ExportRequest(since_ms=START_MS)) == {}
    assert await export(store, snapshot, ExportRequest(until_ms=START_MS - 1)) == {}


async def test_few_matches_among_many_rows_are_all_found(store: TenantStore, clock):
    await store.ingest(numbered("Patient", 3000))
    clock.advance(1)
    changed = [prepared("Patient", str(id), b'"active":true') for id in (5, 1500, 2999)]
    for resource in changed:
        await store.update(resource)
    request = ExportRequest(since_ms=START_MS)
    exported = await export(store, await cut(store), request)
    expected = ndjson(body(one, 2, START_MS + 1000) for one in changed)
    assert exported == {"Patient": expected}


async def test_a_replaced_version_is_not_exported_by_until(store: TenantStore, clock):
    """The state at the snapshot is exported, and of that what was modified up to `until`."""
    await store.create(prepared("Patient", "a"))
    clock.advance(1)
    await store.update(prepared("Patient", "a", b'"active":true'))
    assert await export(store, await cut(store), ExportRequest(until_ms=START_MS)) == {}


async def test_a_part_without_rows_ends_at_once(store: TenantStore, clock):
    await store.ingest(numbered("Patient", 20))
    snapshot = await cut(store)
    (part,) = await store.plan(EVERYTHING, snapshot, PART_BYTES)
    request = ExportRequest(since_ms=START_MS)
    assert await read_part(store, part, request, snapshot) == b""


async def test_a_part_ends_at_its_last_row(store: TenantStore):
    await store.ingest(numbered("Patient", 10))
    snapshot = await cut(store)
    (whole,) = await store.plan(EVERYTHING, snapshot, PART_BYTES)
    rids = range(whole.first, whole.last + 1)
    middle = rids[len(rids) // 2]
    halves = [_between(whole, rids[0], middle), _between(whole, middle + 1, rids[-1])]
    data = [await read_part(store, half, EVERYTHING, snapshot) for half in halves]
    assert b"".join(data) == await read_part(store, whole, EVERYTHING, snapshot)


async def test_a_snapshot_of_another_store_is_gone(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    snapshot = await cut(store)
    (part,) = await store.plan(EVERYTHING, snapshot, PART_BYTES)
    foreign = type(snapshot)("another", snapshot.seq, snapshot.t_ms)
    with pytest.raises(SnapshotGone):
        await store.plan(EVERYTHING, foreign, PART_BYTES)
    with pytest.raises(SnapshotGone):
        await read_part(store, part, EVERYTHING, foreign)


async def test_leaving_a_stream_midway_leaves_the_store_usable(store: TenantStore):
    await store.ingest(numbered("Patient", 2000, padding=4000))
    snapshot = await cut(store)
    plan = await store.plan(EVERYTHING, snapshot, 1 << 26)
    for _ in range(20):
        async with store.stream(plan[0], EVERYTHING, snapshot) as stream:
            assert isinstance(await stream.read(), Batch)
    assert len((await export(store, snapshot))["Patient"].split(b"\n")) == 2001


async def test_a_cancelled_read_leaves_the_store_usable(store: TenantStore, scheduler_seed):
    await store.ingest(numbered("Patient", 400, padding=4000))
    snapshot = await cut(store)
    (part,) = await store.plan(EVERYTHING, snapshot, 1 << 26)
    for ticks in range(8):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_part, store, part, EVERYTHING, snapshot)
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert (await read_part(store, part, EVERYTHING, snapshot)).count(b"\n") == 400


async def test_several_parts_are_read_at_once(store: TenantStore, scheduler_seed):
    batch = numbered("Patient", 900, padding=2000)
    await store.ingest(batch[:450])
    await store.ingest(batch[450:])
    snapshot = await cut(store)
    plan = await store.plan(EVERYTHING, snapshot, 256 * 1024)
    pieces: dict[int, bytes] = {}

    async def read(part: Part) -> None:
        pieces[part.number] = await read_part(store, part, EVERYTHING, snapshot)

    async with trio.open_nursery() as nursery:
        for part in plan:
            nursery.start_soon(read, part)
        nursery.start_soon(store.ingest, numbered("Patient", 300, first=500, padding=10))
    joined = b"".join(pieces[part.number] for part in plan)
    assert joined == ndjson(body(one, 1, START_MS) for one in batch)


async def test_the_end_comes_last_with_the_sums(store: TenantStore):
    await store.ingest(numbered("Patient", 10))
    snapshot = await cut(store)
    (part,) = await store.plan(EVERYTHING, snapshot, PART_BYTES)
    rows = size_bytes = 0
    async with store.stream(part, EVERYTHING, snapshot) as stream:
        while isinstance(message := await stream.read(), Batch):
            rows, size_bytes = rows + message.rows, size_bytes + message.size_bytes
    assert message == PartEnd(rows, size_bytes)
    assert rows == 10


def _between(part: Part, first: int, last: int) -> Part:
    return msgspec.structs.replace(part, first=first, last=last)
