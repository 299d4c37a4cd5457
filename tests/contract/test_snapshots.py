"""BulkReader: the cut, its pins, and what is visible at it."""

import pytest
import trio

from engine.model import ExportRequest, JobId, Snapshot
from engine.ports import TenantStore
from tests.support.builders import body, prepared
from tests.support.clocks import START_MS
from tests.support.exports import ACME, OTHER, cut, export, lines_of


async def test_transaction_time_is_now_and_holds_all_that_was_written(store: TenantStore):
    await store.create(prepared("Patient", "a"))
    snapshot = await cut(store)
    assert snapshot == Snapshot((await store.statistics()).store, 1, START_MS)


async def test_the_same_job_gets_the_same_snapshot_again(store: TenantStore, clock):
    snapshot = await cut(store, "j1")
    await store.create(prepared("Patient", "a"))
    clock.advance(10)
    assert await cut(store, "j1") == snapshot
    assert (await cut(store, "j2")).seq == 1


async def test_pins_are_listed_with_their_age_by_the_clock_of_the_store(store: TenantStore, clock):
    assert list(await store.pins()) == []
    first = await cut(store, "j1")
    clock.advance(90)
    second = await cut(store, "j2")
    pins = {pin.job: pin for pin in await store.pins()}
    assert {job: pin.snapshot for job, pin in pins.items()} == {"j1": first, "j2": second}
    assert {job: pin.age_s for job, pin in pins.items()} == {"j1": 90.0, "j2": 0.0}


async def test_the_age_of_a_pin_heeds_no_step_of_the_wall_clock(store: TenantStore, clock):
    await cut(store)
    clock.advance(5)
    for step_ms in (3_600_000, -7_200_000):
        clock.step_wall(step_ms)
        assert [pin.age_s for pin in await store.pins()] == [5.0]


async def test_a_pin_of_an_earlier_boot_is_at_least_as_old_as_this_one(store: TenantStore, clock):
    await cut(store)
    clock.reboot()
    clock.advance(700)
    assert [pin.age_s >= 700 for pin in await store.pins()] == [True]


async def test_a_closed_snapshot_has_no_pin(store: TenantStore):
    await cut(store, "j1")
    await cut(store, "j2")
    await store.close_snapshot(JobId("j1"))
    assert [pin.job for pin in await store.pins()] == ["j2"]
    assert (await store.statistics()).open_snapshots == 1


async def test_closing_what_is_not_open_does_nothing(store: TenantStore):
    await cut(store, "j1")
    await store.close_snapshot(JobId("j2"))
    assert [pin.job for pin in await store.pins()] == ["j1"]


async def test_pins_and_the_cut_outlive_the_process(site, clock):
    async with site.backend("w1") as backend:
        await backend.tenants.ensure(ACME)
        snapshot = await cut(await backend.tenants.store(ACME))
    clock.step_wall(-60_000)
    async with site.backend("w2") as backend:
        store = await backend.tenants.store(ACME)
        assert [pin.snapshot for pin in await store.pins()] == [snapshot]
        written = await store.create(prepared("Patient", "a"))
        assert written.version.updated_ms > snapshot.t_ms


async def test_a_write_after_a_cut_in_the_same_millisecond_is_later(store: TenantStore):
    first = await cut(store, "j1")
    written = await store.create(prepared("Patient", "a"))
    second = await cut(store, "j2")
    assert first.t_ms < written.version.updated_ms <= second.t_ms
    assert await export(store, first) == {}
    assert lines_of(await export(store, second)) == {written.version.body}


@pytest.mark.parametrize("step_ms", [-3_600_000, -1, 0, 1, 3_600_000])
async def test_visible_if_and_only_if_up_to_transaction_time(store: TenantStore, clock, step_ms):
    written, snapshots = [], []
    for number in range(6):
        written.append((await store.create(prepared("Patient", f"a{number}"))).version)
        clock.step_wall(step_ms)
        snapshots.append(await cut(store, f"j{number}"))
        written.append((await store.create(prepared("Patient", f"b{number}"))).version)
        clock.step_wall(-step_ms if number % 2 else step_ms)
    for snapshot in snapshots:
        expected = {one.body for one in written if one.updated_ms <= snapshot.t_ms}
        assert lines_of(await export(store, snapshot)) == expected


async def test_transaction_times_never_go_back(store: TenantStore, clock):
    times = []
    for number in range(5):
        times.append((await cut(store, f"j{number}")).t_ms)
        clock.step_wall(-1000)
    assert times == sorted(times)


async def test_writes_after_the_cut_do_not_show(store: TenantStore):
    kept = {id: await store.create(prepared("Patient", id)) for id in ("update", "delete", "leave")}
    snapshot = await cut(store)
    await store.update(prepared("Patient", "update", b'"active":true'))
    await store.delete("Patient", "delete")
    await store.create(prepared("Patient", "create"))
    await store.ingest([prepared("Patient", "leave", b'"n":1'), prepared("Group", "g")])
    await store.delete("Patient", "leave")
    await store.update(prepared("Patient", "delete"))
    exported = await export(store, snapshot)
    assert lines_of(exported) == {written.version.body for written in kept.values()}


async def test_deleted_before_the_cut_does_not_show_and_recreated_does(store: TenantStore):
    for id in ("a", "b"):
        await store.create(prepared("Patient", id))
        await store.delete("Patient", id)
    again = await store.create(prepared("Patient", "b"))
    assert lines_of(await export(store, await cut(store))) == {again.version.body}


async def test_old_snapshots_stay_readable_beside_new_ones(store: TenantStore, clock):
    expected = []
    for number in range(4):
        written = await store.update(prepared("Patient", "a", b'"n":%d' % number))
        expected.append((await cut(store, f"j{number}"), written.version.body))
        clock.advance(1)
    for snapshot, line in expected:
        assert lines_of(await export(store, snapshot)) == {line}


async def test_a_chain_of_since_exports_misses_nothing(store: TenantStore, clock):
    """Each export begins where the one before ended; together they are the store."""
    replica: dict[bytes, bytes] = {}
    since_ms = None
    for round in range(6):
        for id in range(round, round + 4):
            await store.update(prepared("Patient", f"p{id}", b'"n":%d' % round))
        snapshot = await cut(store, f"j{round}")
        clock.step_wall((-50, 0, 1, 70, -20, 0)[round])
        request = ExportRequest(since_ms=since_ms)
        for line in lines_of(await export(store, snapshot, request)):
            replica[line.split(b'"')[7]] = line
        since_ms = snapshot.t_ms
    assert set(replica.values()) == lines_of(await export(store, await cut(store, "last")))


async def test_a_cut_among_writers_is_exact(store: TenantStore, clock, scheduler_seed):
    written, snapshots = [], []

    async def write(name: str) -> None:
        for number in range(6):
            written.append((await store.create(prepared("Patient", f"{name}{number}"))).version)
            clock.step_wall(1 if number % 2 else -1)

    async def cut_often() -> None:
        snapshots.extend([await cut(store, f"j{number}") for number in range(6)])

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(write, name)
        nursery.start_soon(cut_often)
    for snapshot in snapshots:
        expected = {one.body for one in written if one.updated_ms <= snapshot.t_ms}
        assert lines_of(await export(store, snapshot)) == expected


async def test_two_workers_writing_to_one_tenant_stay_exact(site, clock, scheduler_seed):
    written, snapshots = [], []

    async def write(backend, name: str) -> None:
        store = await backend.tenants.store(ACME)
        for number in range(5):
            resource = prepared("Patient", f"{name}{number}")
            written.append((await store.create(resource)).version)
            snapshots.append(await cut(store, f"{name}{number}"))

    async with site.backend("w1") as one, site.backend("w2") as two:
        await one.tenants.ensure(ACME)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, one, "a")
            nursery.start_soon(write, two, "b")
        store = await one.tenants.store(ACME)
        for snapshot in snapshots:
            expected = {one.body for one in written if one.updated_ms <= snapshot.t_ms}
            assert lines_of(await export(store, snapshot)) == expected


async def test_a_snapshot_is_read_by_another_worker_after_the_first_died(site):
    resource = prepared("Patient", "a")
    async with site.backend("w1") as backend:
        await backend.tenants.ensure(ACME)
        store = await backend.tenants.store(ACME)
        await store.create(resource)
        snapshot = await cut(store)
        await store.delete("Patient", "a")
    async with site.backend("w2") as backend:
        store = await backend.tenants.store(ACME)
        assert lines_of(await export(store, snapshot)) == {body(resource, 1, START_MS)}


async def test_tenants_have_cuts_of_their_own(store: TenantStore, backend):
    other = await backend.tenants.store(OTHER)
    await other.create(prepared("Patient", "theirs"))
    snapshot = await cut(store)
    assert await export(store, snapshot) == {}
    assert list(await other.pins()) == []
