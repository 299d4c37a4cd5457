"""BulkWriter."""

import pickle

from engine.model import Ingested
from engine.ports import TenantStore
from tests.support.builders import ODD_MEMBERS, body, numbered, prepared
from tests.support.clocks import START_MS


async def test_a_batch_is_stored_as_it_came(store: TenantStore):
    batch = [
        prepared("Patient", "a", ODD_MEMBERS),
        prepared("Group", "g"),
        prepared("Patient", "b"),
    ]
    assert await store.ingest(batch) == Ingested(created=3, updated=0, unchanged=0)
    for resource in batch:
        there = await store.read(resource.type, resource.id)
        assert there.body == body(resource, 1, START_MS)


async def test_an_empty_batch_is_nothing(store: TenantStore):
    assert await store.ingest([]) == Ingested(0, 0, 0)
    assert (await store.statistics()).seq == 0


async def test_a_repeated_ingest_makes_no_new_versions(store: TenantStore, clock):
    batch = [*numbered("Patient", 50), prepared("Group", "g", ODD_MEMBERS)]
    await store.ingest(batch)
    before = await store.statistics()
    clock.advance(10)
    assert await store.ingest(batch) == Ingested(created=0, updated=0, unchanged=51)
    assert await store.statistics() == before


async def test_only_what_changed_gets_a_new_version(store: TenantStore, clock):
    await store.ingest([prepared("Patient", "a"), prepared("Patient", "b")])
    clock.advance(10)
    changed = prepared("Patient", "b", b'"active":true')
    ingested = await store.ingest([prepared("Patient", "a"), changed, prepared("Patient", "c")])
    assert ingested == Ingested(created=1, updated=1, unchanged=1)
    assert (await store.read("Patient", "a")).version == 1
    assert (await store.read("Patient", "b")).body == body(changed, 2, START_MS + 10_000)


async def test_a_change_of_equal_length_is_seen(store: TenantStore):
    await store.ingest([prepared("Patient", "a", b'"n":1')])
    assert await store.ingest([prepared("Patient", "a", b'"n":2')]) == Ingested(0, 1, 0)


async def test_equal_to_an_older_version_is_a_change(store: TenantStore):
    old, new = prepared("Patient", "a", b'"n":1'), prepared("Patient", "a", b'"n":2')
    for batch in ([old], [new]):
        await store.ingest(batch)
    assert await store.ingest([old]) == Ingested(0, 1, 0)
    assert (await store.read("Patient", "a")).version == 3


async def test_an_id_that_comes_twice_is_written_twice_in_order(store: TenantStore):
    first, second = prepared("Patient", "a", b'"n":1'), prepared("Patient", "a", b'"n":2')
    ingested = await store.ingest([first, prepared("Patient", "b"), second])
    assert ingested == Ingested(created=2, updated=1, unchanged=0)
    assert (await store.vread("Patient", "a", 1)).body == body(first, 1, START_MS)
    assert (await store.read("Patient", "a")).body == body(second, 2, START_MS)


async def test_an_equal_line_that_comes_twice_is_unchanged_the_second_time(store: TenantStore):
    batch = [prepared("Patient", "a"), prepared("Patient", "a")]
    assert await store.ingest(batch) == Ingested(created=1, updated=0, unchanged=1)


async def test_an_id_that_comes_many_times_ends_as_its_last(store: TenantStore):
    batch = [prepared("Patient", "a", b'"n":%d' % number) for number in range(20)]
    assert await store.ingest(batch) == Ingested(created=1, updated=19, unchanged=0)
    assert (await store.read("Patient", "a")).body == body(batch[-1], 20, START_MS)


async def test_the_same_id_in_two_types_is_two_resources(store: TenantStore):
    assert await store.ingest([prepared("Patient", "a"), prepared("Group", "a")]) == Ingested(
        2, 0, 0
    )


async def test_what_was_deleted_is_created_again(store: TenantStore):
    await store.ingest([prepared("Patient", "a")])
    await store.delete("Patient", "a")
    assert await store.ingest([prepared("Patient", "a")]) == Ingested(1, 0, 0)
    assert (await store.read("Patient", "a")).version == 3


async def test_all_of_a_batch_have_one_instant(store: TenantStore):
    await store.ingest([*numbered("Patient", 30), *numbered("Group", 30)])
    instants = {(await store.read(type, "29")).updated_ms for type in ("Patient", "Group")}
    assert instants == {START_MS}


async def test_a_large_batch_is_stored_whole(store: TenantStore):
    batch = [*numbered("Patient", 1500, padding=200), *numbered("Group", 300, padding=200)]
    assert await store.ingest(batch) == Ingested(1800, 0, 0)
    assert (await store.statistics()).rows == {"Patient": 1500, "Group": 300}
    assert await store.ingest(batch) == Ingested(0, 0, 1800)


async def test_single_writes_and_ingest_share_one_history(store: TenantStore):
    resource = prepared("Patient", "a", b'"n":1')
    await store.create(resource)
    assert await store.ingest([resource]) == Ingested(0, 0, 1)
    await store.update(prepared("Patient", "a", b'"n":2'))
    assert await store.ingest([resource]) == Ingested(0, 1, 0)
    assert (await store.read("Patient", "a")).version == 3


async def test_packed_batches_are_stored_as_plain_ones_are_also_by_a_packer_that_was_pickled(
    store: TenantStore, clock
):
    packer = pickle.loads(pickle.dumps(await store.packer()))
    first = [prepared("Patient", "a", ODD_MEMBERS), prepared("Group", "g")]
    second = [prepared("Patient", "b"), prepared("Patient", "b", b'"active":true')]
    batches = [packer.pack(first), packer.pack(second)]
    assert await store.ingest_packed(batches) == Ingested(created=3, updated=1, unchanged=0)
    for resource in (*first, second[1]):
        there = await store.read(resource.type, resource.id)
        assert there.body == body(resource, there.version, START_MS)
    clock.advance(10)
    changed = prepared("Group", "g", b'"active":true')
    again = [packer.pack([*first[:1], changed, prepared("Patient", "c")])]
    assert await store.ingest_packed(again) == Ingested(created=1, updated=1, unchanged=1)
    assert await store.ingest_packed([]) == Ingested(0, 0, 0)
