"""lastUpdated <= transactionTime if and only if visible, whatever the clocks do (DESIGN 6)."""

import random

import pytest
import trio

from backends.sqlite.tenant_store import SqliteTenantStore
from engine.model import JobId, Snapshot
from tests.store.conftest import Site
from tests.support.builders import numbered, prepared
from tests.support.clocks import StoreClockByHand

JUDGE = """
SELECT count(*) FROM version
WHERE (upd_ms <= ?1) <> ((rid & ((1 << 40) - 1)) <= ?2)
"""


async def violations(store: SqliteTenantStore, snapshot: Snapshot) -> int:
    """Rows on one side by their time and on the other by their number."""
    return await store._file.points.call(
        lambda connection: connection.execute(JUDGE, (snapshot.t_ms, snapshot.seq)).get
    )


async def write(store: SqliteTenantStore, dice: random.Random) -> None:
    id = str(dice.randrange(5))
    match dice.randrange(3):
        case 0:
            await store.update(prepared(id=id))
        case 1:
            await store.delete("Patient", id)
        case _:
            await store.ingest(numbered("Observation", 3, padding=dice.randrange(50)))


@pytest.mark.parametrize("seed", range(8))
async def test_two_stores_on_one_file_agree_under_clocks_that_step(site: Site, seed: int) -> None:
    dice = random.Random(seed)
    clocks = [StoreClockByHand(), StoreClockByHand()]
    snapshots = []
    async with site.open(clocks[0]) as first, site.open(clocks[1]) as second:
        for number in range(60):
            which = dice.randrange(2)
            store = (first, second)[which]
            if dice.random() < 0.3:
                clocks[which].step_wall(dice.choice([-3_600_000, -1, 0, 1, 2, 5, 3_600_000]))
            if dice.random() < 0.25:
                snapshots.append(await store.open_snapshot(JobId(str(number))))
            else:
                await write(store, dice)
        assert len(snapshots) > 5
        assert [await violations(first, snapshot) for snapshot in snapshots] == [0] * len(snapshots)
        assert len({s.seq for s in snapshots}) > 1


async def test_two_stores_that_write_at_once_lose_no_number(threaded: Site) -> None:
    snapshots: list[Snapshot] = []

    async def load(store: SqliteTenantStore, name: str) -> None:
        for number in range(30):
            await store.ingest(numbered(name, 20, first=20 * number))
            snapshots.append(await store.open_snapshot(JobId(f"{name}{number}")))

    async with threaded.open() as first, threaded.open() as second:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load, first, "Patient")
            nursery.start_soon(load, second, "Observation")
        found = await first.statistics()
        assert (found.seq, found.rows) == (1200, {"Observation": 600, "Patient": 600})
        assert found == await second.statistics()
        assert sum([await violations(second, snapshot) for snapshot in snapshots]) == 0


async def test_kick_off_write_kick_off_in_one_millisecond_are_three_times(site: Site) -> None:
    async with site.open() as store:
        await store.update(prepared(id="a"))
        before = await store.open_snapshot(JobId("1"))
        between = (await store.update(prepared(id="b"))).version.updated_ms
        after = await store.open_snapshot(JobId("2"))
    assert before.t_ms < between <= after.t_ms
    assert before.seq + 1 == after.seq


async def test_a_write_that_waits_with_a_kick_off_is_on_the_right_side_of_it(
    threaded: Site,
) -> None:
    """All in one transaction: the cut is made between them."""
    async with threaded.open() as store:
        written: list[int] = []
        snapshots: list[Snapshot] = []

        async def put(id: str) -> None:
            written.append((await store.update(prepared(id=id))).version.updated_ms)

        async def cut(job: str) -> None:
            snapshots.append(await store.open_snapshot(JobId(job)))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(put, str(number))
                nursery.start_soon(cut, str(number))
        assert len(written) == len(snapshots) == 20
        assert sum([await violations(store, snapshot) for snapshot in snapshots]) == 0


async def test_a_pin_ages_by_a_clock_that_does_not_step(site: Site) -> None:
    async with site.open() as store:
        await store.open_snapshot(JobId("1"))
        site.clock.advance(5)
        site.clock.step_wall(3_600_000)
        assert [pin.age_s for pin in await store.pins()] == [5.0]


async def test_a_pin_of_an_earlier_boot_is_at_least_as_old_as_this_one(site: Site) -> None:
    async with site.open() as store:
        await store.open_snapshot(JobId("1"))
        site.clock.reboot()
        site.clock.advance(700)
        assert [pin.age_s >= 700 for pin in await store.pins()] == [True]
