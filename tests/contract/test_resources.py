"""ResourceReader and ResourceWriter."""

import pytest
import trio

from engine.errors import Conflict, VersionMismatch
from engine.model import Version, Written
from engine.ports import TenantStore
from tests.support.builders import ODD_MEMBERS, body, prepared
from tests.support.clocks import START_MS
from tests.support.exports import OTHER, cut


async def test_a_created_resource_is_read_as_it_was_stored(store: TenantStore):
    resource = prepared("Patient", "a", ODD_MEMBERS)
    written = await store.create(resource)
    version = Version("Patient", "a", 1, START_MS, body(resource, 1, START_MS))
    assert written == Written(version, created=True)
    assert await store.read("Patient", "a") == version


async def test_versions_and_instants_are_in_the_body(store: TenantStore):
    written = await store.create(prepared("Patient", "a", b'"active":true'))
    assert written.version.body == (
        b'{"resourceType":"Patient","id":"a","meta":{"versionId":"1",'
        b'"lastUpdated":"2026-01-31T08:30:00.000Z"},"active":true}'
    )


async def test_what_was_never_written_is_not_there(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    assert await store.read("Patient", "b") is None
    assert await store.read("Group", "a") is None
    assert await store.vread("Patient", "a", 2) is None
    assert await store.vread("Patient", "a", 0) is None


async def test_create_of_a_live_id_is_refused_and_changes_nothing(store: TenantStore):
    first = await store.create(prepared("Patient", "a"))
    before = await store.statistics()
    with pytest.raises(Conflict):
        await store.create(prepared("Patient", "a", b'"active":true'))
    assert await store.read("Patient", "a") == first.version
    assert await store.statistics() == before


async def test_create_over_a_deleted_id_goes_on_with_its_versions(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    await store.delete("Patient", "a")
    written = await store.create(prepared("Patient", "a"))
    assert written.created
    assert written.version.version == 3


async def test_update_creates_what_is_not_there(store: TenantStore):
    written = await store.update(prepared("Patient", "a"))
    assert (written.created, written.version.version) == (True, 1)


async def test_update_makes_the_next_version_even_of_an_equal_body(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    written = await store.update(prepared("Patient", "a"))
    assert (written.created, written.version.version) == (False, 2)
    assert await store.read("Patient", "a") == written.version


async def test_update_of_a_deleted_one_goes_on_with_its_versions(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    await store.delete("Patient", "a")
    written = await store.update(prepared("Patient", "a"))
    assert (written.created, written.version.version) == (True, 3)


async def test_every_version_stays_readable(store: TenantStore, clock):
    first = (await store.create(prepared("Patient", "a"))).version
    clock.advance(1)
    second = (await store.update(prepared("Patient", "a", b'"active":true'))).version
    clock.advance(1)
    tombstone = await store.delete("Patient", "a")
    versions = [await store.vread("Patient", "a", number) for number in (1, 2, 3)]
    assert versions == [first, second, tombstone]
    assert first.updated_ms < second.updated_ms < tombstone.updated_ms


async def test_update_with_the_current_version_named_is_done(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    written = await store.update(prepared("Patient", "a"), if_match=1)
    assert written.version.version == 2


@pytest.mark.parametrize("if_match", [0, 2, 99])
async def test_update_with_another_version_named_changes_nothing(store: TenantStore, if_match):
    first = await store.create(prepared("Patient", "a"))
    with pytest.raises(VersionMismatch):
        await store.update(prepared("Patient", "a"), if_match=if_match)
    with pytest.raises(VersionMismatch):
        await store.delete("Patient", "a", if_match=if_match)
    assert await store.read("Patient", "a") == first.version


async def test_update_of_what_is_deleted_or_was_never_there_matches_no_version(
    store: TenantStore,
):
    await store.create(prepared("Patient", "a"))
    await store.delete("Patient", "a")
    for id, if_match in (("a", 1), ("a", 2), ("b", 1)):
        with pytest.raises(VersionMismatch):
            await store.update(prepared("Patient", id), if_match=if_match)


async def test_delete_leaves_a_tombstone(store: TenantStore, clock):
    await store.create(prepared("Patient", "a"))
    clock.advance(1)
    tombstone = await store.delete("Patient", "a", if_match=1)
    assert tombstone == Version("Patient", "a", 2, START_MS + 1000, None)
    assert tombstone.deleted
    assert await store.read("Patient", "a") == tombstone


async def test_a_second_delete_gives_the_tombstone_there_is(store: TenantStore, clock):
    await store.create(prepared("Patient", "a"))
    tombstone = await store.delete("Patient", "a")
    before = await store.statistics()
    clock.advance(1)
    assert await store.delete("Patient", "a") == tombstone
    assert await store.statistics() == before


async def test_delete_of_what_was_never_there_gives_none(store: TenantStore):
    assert await store.delete("Patient", "a") is None
    assert (await store.statistics()).seq == 0


async def test_last_updated_never_goes_back(store: TenantStore, clock):
    first = await store.create(prepared("Patient", "a"))
    clock.step_wall(-5000)
    second = await store.update(prepared("Patient", "a"))
    assert second.version.updated_ms == first.version.updated_ms


async def test_last_updated_follows_a_clock_that_steps_forward(store: TenantStore, clock):
    await store.create(prepared("Patient", "a"))
    clock.step_wall(3_600_000)
    written = await store.update(prepared("Patient", "a"))
    assert written.version.updated_ms == START_MS + 3_600_000


async def test_statistics_count_live_resources_by_type(store: TenantStore):
    for id in ("a", "b", "c"):
        await store.create(prepared("Patient", id))
    await store.update(prepared("Patient", "a"))
    await store.delete("Patient", "b")
    await store.create(prepared("Group", "a"))
    snapshot = await cut(store)
    statistics = await store.statistics()
    assert statistics.rows == {"Patient": 2, "Group": 1}
    assert statistics.seq == snapshot.seq == 6
    assert statistics.store == snapshot.store
    assert statistics.cut_ms == snapshot.t_ms
    assert statistics.last_ms == START_MS
    assert statistics.open_snapshots == 1


async def test_tenants_see_nothing_of_each_other(store: TenantStore, backend):
    await store.create(prepared("Patient", "a"))
    other = await backend.tenants.store(OTHER)
    assert await other.read("Patient", "a") is None
    assert (await other.create(prepared("Patient", "a"))).version.version == 1
    assert (await other.statistics()).store != (await store.statistics()).store


async def test_a_cancelled_write_is_done_wholly_or_not_at_all(store: TenantStore):
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.create(prepared("Patient", "a"))
    there = await store.read("Patient", "a")
    written = await store.update(prepared("Patient", "a"))
    assert written.created == (there is None)
    assert (await store.statistics()).seq == written.version.version


async def test_writes_at_once_to_one_id_get_a_version_each(store: TenantStore, scheduler_seed):
    versions = []

    async def update() -> None:
        versions.append((await store.update(prepared("Patient", "a"))).version.version)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(update)
    assert sorted(versions) == list(range(1, 9))


async def test_of_creates_at_once_of_one_id_one_wins(store: TenantStore, scheduler_seed):
    won = []

    async def create() -> None:
        try:
            won.append(await store.create(prepared("Patient", "a")))
        except Conflict:
            return

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create)
    assert len(won) == 1
    assert (await store.statistics()).seq == 1
