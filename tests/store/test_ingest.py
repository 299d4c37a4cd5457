"""Ingest and the WAL: no version without a change, extents that do not overlap, bounded files."""

import os

import pytest
import trio

from backends.sqlite import checkpoint, stream
from backends.sqlite.tenant_store import SqliteTenantStore
from engine.model import ExportRequest, Ingested, JobId, PartEnd, Prepared
from tests.store.conftest import Site
from tests.support.builders import numbered, prepared

MIB = 1 << 20

OVERLAPS = """
SELECT count(*) FROM extent AS a JOIN extent AS b
ON a.type = b.type AND a.first_rid < b.first_rid AND a.last_rid >= b.first_rid
"""
COVERED = """
SELECT count(*) FROM version AS v WHERE EXISTS (
    SELECT 1 FROM extent AS e WHERE v.rid BETWEEN e.first_rid AND e.last_rid)
"""


async def value(store: SqliteTenantStore, sql: str) -> int:
    return await store._file.points.call(lambda connection: connection.execute(sql).get)


async def test_a_repeated_load_writes_nothing(store: SqliteTenantStore) -> None:
    batch = numbered("Patient", 1500) + numbered("Observation", 500)
    assert await store.ingest(batch) == Ingested(2000, 0, 0)
    before = await store.statistics()
    assert await store.ingest(batch) == Ingested(0, 0, 2000)
    assert await store.statistics() == before
    assert await value(store, "SELECT count(*) FROM version") == 2000


async def test_only_what_changed_gets_a_version_and_numbers_have_no_gap(
    store: SqliteTenantStore,
) -> None:
    await store.ingest(numbered("Patient", 100))
    changed = [prepared(id=str(n), members=b'"n":%d' % n) if n % 3 == 0 else prepared(id=str(n))
               for n in range(100)]  # fmt: skip
    first = numbered("Patient", 100)
    mixed = [a if n % 3 == 0 else b for n, (a, b) in enumerate(zip(changed, first, strict=True))]
    assert await store.ingest(mixed) == Ingested(0, 34, 66)
    assert (await store.statistics()).seq == 134


@pytest.mark.parametrize("versions", [9, 10, 99, 100])
async def test_equal_is_equal_whatever_the_length_of_the_version_number(
    store: SqliteTenantStore, versions: int
) -> None:
    for number in range(versions):
        await store.ingest([prepared(members=b'"n":%03d' % number)])
    last = [prepared(members=b'"n":%03d' % (versions - 1))]
    assert await store.ingest(last) == Ingested(0, 0, 1)


async def test_an_ingested_version_equals_a_written_one(store: SqliteTenantStore) -> None:
    resource = prepared(members='"t":"ß€😀","n":1.00'.encode())
    await store.ingest([resource])
    ingested = await store.read("Patient", "p1")
    assert ingested is not None
    assert ingested.body == resource.body(1, "2026-01-31T08:30:00.000Z")


async def test_an_id_with_many_versions_in_one_batch_is_written_in_order(
    store: SqliteTenantStore,
) -> None:
    versions = [prepared(members=b'"n":%d' % number) for number in range(50)]
    assert await store.ingest(versions) == Ingested(1, 49, 0)
    for number in range(50):
        found = await store.vread("Patient", "p1", number + 1)
        assert found is not None
        assert found.body is not None
        assert found.body.endswith(b'"n":%d}' % number)


async def test_extents_cover_long_runs_and_never_overlap(store: SqliteTenantStore) -> None:
    for number in range(5):
        await store.ingest(
            numbered("Patient", 1100, first=1100 * number)
            + numbered("Observation", 1100, first=1100 * number)
        )
        await store.update(prepared(id=f"s{number}"))
    assert await value(store, OVERLAPS) == 0
    assert await value(store, COVERED) == 11_000
    assert await value(store, "SELECT sum(rows) FROM extent") == 11_000


async def test_the_wal_stays_bounded_while_export_and_load_run(
    threaded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers without a pause, and a writer that writes many times the bound."""
    monkeypatch.setattr(checkpoint, "STEP_BYTES", MIB)
    monkeypatch.setattr(checkpoint, "RESTART_BYTES", 4 * MIB)
    monkeypatch.setattr(checkpoint, "BRAKE_BYTES", 6 * MIB)
    monkeypatch.setattr(stream, "BATCH_BYTES", MIB)
    wal = threaded.path.with_name(threaded.path.name + "-wal")
    longest = 0
    async with threaded.open() as store, trio.open_nursery() as nursery:
        await store.ingest(numbered("Patient", 2000, padding=1000))
        for lane in range(2):
            nursery.start_soon(_export_for_ever, store, str(lane))
        for number in range(40):
            await store.ingest(_fresh(number))
            longest = max(longest, os.stat(wal).st_size)
        nursery.cancel_scope.cancel()
    assert threaded.path.stat().st_size > 40 * MIB
    assert longest < 12 * MIB


def _fresh(number: int) -> list[Prepared]:
    return numbered("Observation", 1000, first=1000 * number, padding=1000)


async def _export_for_ever(store: SqliteTenantStore, job: str) -> None:
    snapshot = await store.open_snapshot(JobId(job))
    request = ExportRequest()
    while True:
        for part in await store.plan(request, snapshot, MIB):
            async with store.stream(part, request, snapshot) as lines:
                while not isinstance(await lines.read(), PartEnd):
                    pass
