"""Pruning: old versions go, and nothing that anybody can still ask for by right."""

import pytest

from engine.model import ExportRequest, JobId
from engine.ports import TenantStore
from tests.support.builders import prepared
from tests.support.clocks import START_MS, StoreClockByHand
from tests.support.exports import export

SECOND = 1000
LATER = START_MS + 1_000_000


async def versions(store: TenantStore, id: str = "a", type: str = "Patient") -> list[int]:
    history = await store.history(type, id, limit=100)
    assert history.total == len(history.versions)
    return [one.version for one in history.versions]


async def prune(store: TenantStore, *, older_than_ms: int = LATER, keep: int = 1) -> int:
    """The whole work; how many versions went."""
    step = await store.prune(older_than_ms=older_than_ms, keep=keep)
    removed = step.removed
    while step.cursor is not None:
        step = await store.prune(older_than_ms=older_than_ms, keep=keep, after=step.cursor)
        removed += step.removed
    return removed


@pytest.fixture
async def four(store: TenantStore, clock: StoreClockByHand) -> TenantStore:
    """Patient a in versions 1 to 4, one a second; and b in one."""
    await store.create(prepared("Patient", "b"))
    for number in range(4):
        await store.update(prepared("Patient", "a", b'"n":%d' % number))
        clock.step_wall(SECOND)
    return store


@pytest.mark.parametrize(("keep", "left"), [(1, [4]), (2, [4, 3]), (4, None), (5, None), (9, None)])
async def test_the_newest_stay(four: TenantStore, keep: int, left: list[int] | None):
    left = left or [4, 3, 2, 1]
    assert await prune(four, keep=keep) == 4 - len(left)
    assert await versions(four) == left
    assert await versions(four, "b") == [1]


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(0, [4, 3, 2, 1]), (1, [4, 3, 2, 1]), (1.001, [4, 3, 2]), (2.5, [4, 3]), (99, [4])],
)
async def test_what_was_replaced_before_a_time_goes(
    four: TenantStore, seconds: float, left: list[int]
):
    await prune(four, older_than_ms=START_MS + round(seconds * SECOND))
    assert await versions(four) == left


async def test_what_is_gone_is_gone_for_every_reader(four: TenantStore):
    await prune(four)
    assert await four.vread("Patient", "a", 3) is None
    current = await four.read("Patient", "a")
    assert current is not None
    assert current.version == 4
    assert (await four.history("Patient", limit=0)).total == 2
    assert (await four.history(limit=0)).total == 2


async def test_versions_go_on_counting(four: TenantStore):
    await prune(four)
    assert (await four.update(prepared("Patient", "a"))).version.version == 5
    await four.ingest([prepared("Patient", "a", b'"n":9')])
    assert await versions(four) == [6, 5, 4]


async def test_a_tombstone_stays_and_the_body_it_ended_goes(four: TenantStore):
    await four.delete("Patient", "a")
    await prune(four)
    assert await versions(four) == [5]
    assert (await four.update(prepared("Patient", "a"))).version.version == 6


async def test_what_an_open_export_reads_stays(four: TenantStore):
    snapshot = await four.open_snapshot(JobId("j1"))
    before = await export(four, snapshot, ExportRequest())
    await four.update(prepared("Patient", "a", b'"n":9'))
    await four.delete("Patient", "b")
    assert await prune(four) == 3
    assert await versions(four) == [5, 4]
    assert await versions(four, "b") == [2, 1]
    assert await export(four, snapshot, ExportRequest()) == before
    await four.close_snapshot(JobId("j1"))
    assert await prune(four) == 2
    assert await versions(four, "b") == [2]


async def test_exports_after_pruning_hold_what_is_current(four: TenantStore):
    await prune(four)
    snapshot = await four.open_snapshot(JobId("j1"))
    exported = await export(four, snapshot, ExportRequest())
    assert str(exported).count("Patient") >= 2
    current = [await four.read("Patient", id) for id in ("a", "b")]
    assert all(one is not None and one.body is not None for one in current)
    assert all(one.body.decode() in str(exported) for one in current if one and one.body)


async def test_pruning_again_finds_nothing(four: TenantStore):
    await prune(four)
    assert await prune(four) == 0
