"""Histories: of one resource, of one type, of all (http.html#history)."""

from typing import Any

import pytest

from engine.model import History
from engine.ports import TenantStore
from tests.support.builders import numbered, prepared
from tests.support.clocks import START_MS, StoreClockByHand

SECOND = 1000


def shown(history: History) -> list[tuple[str, str, int]]:
    return [(one.type, one.id, one.version) for one in history.versions]


async def pages(store: TenantStore, *what: str, limit: int, **options: Any) -> list[History]:
    """All pages of a history."""
    found = [await store.history(*what, limit=limit, **options)]
    while found[-1].position:
        position = found[-1].position
        found.append(await store.history(*what, limit=limit, position=position, **options))
    return found


@pytest.fixture
async def three_seconds(store: TenantStore, clock: StoreClockByHand) -> TenantStore:
    """Patient a in versions 1, 2 (deleted) and 3, one a second; Patient b and Group a at first."""
    await store.create(prepared("Patient", "a"))
    await store.create(prepared("Patient", "b"))
    await store.create(prepared("Group", "a"))
    clock.step_wall(SECOND)
    await store.delete("Patient", "a")
    clock.step_wall(SECOND)
    await store.update(prepared("Patient", "a", b'"active":true'))
    return store


async def test_the_versions_of_a_resource_come_newest_first_with_deletions(
    three_seconds: TenantStore,
):
    history = await three_seconds.history("Patient", "a", limit=10)
    assert shown(history) == [("Patient", "a", 3), ("Patient", "a", 2), ("Patient", "a", 1)]
    assert [one.deleted for one in history.versions] == [False, True, False]
    assert (history.total, history.position) == (3, 0)


async def test_versions_in_a_history_are_those_that_vread_gives(three_seconds: TenantStore):
    history = await three_seconds.history("Patient", "a", limit=10)
    read = [await three_seconds.vread("Patient", "a", number) for number in (3, 2, 1)]
    assert list(history.versions) == read


async def test_a_type_has_the_versions_of_its_resources_only(three_seconds: TenantStore):
    history = await three_seconds.history("Patient", limit=10)
    assert shown(history) == [
        ("Patient", "a", 3),
        ("Patient", "a", 2),
        ("Patient", "b", 1),
        ("Patient", "a", 1),
    ]
    assert history.total == 4


async def test_the_system_has_the_versions_of_all_types_in_the_order_of_their_writes(
    three_seconds: TenantStore,
):
    history = await three_seconds.history(limit=10)
    assert shown(history) == [
        ("Patient", "a", 3),
        ("Patient", "a", 2),
        ("Group", "a", 1),
        ("Patient", "b", 1),
        ("Patient", "a", 1),
    ]
    assert history.total == 5


@pytest.mark.parametrize("what", [(), ("Patient",), ("Patient", "none"), ("Group", "a")])
async def test_what_was_never_written_has_no_history(store: TenantStore, what: tuple[str, ...]):
    assert await store.history(*what, limit=10) == History(versions=(), total=0)


@pytest.mark.parametrize("what", [(), ("Patient",), ("Patient", "a")])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_hold_together_what_one_page_holds(
    three_seconds: TenantStore, what: tuple[str, ...], limit: int
):
    whole = await three_seconds.history(*what, limit=10)
    found = await pages(three_seconds, *what, limit=limit)
    assert [one for page in found for one in shown(page)] == shown(whole)
    assert {page.total for page in found} == {whole.total}
    assert all(len(page.versions) <= limit for page in found)


@pytest.mark.parametrize("what", [(), ("Patient",), ("Patient", "a")])
async def test_no_page_shows_what_was_written_after_the_first(
    three_seconds: TenantStore, what: tuple[str, ...]
):
    whole = await three_seconds.history(*what, limit=10)
    first = await three_seconds.history(*what, limit=1)
    await three_seconds.update(prepared("Patient", "a", b'"active":false'))
    await three_seconds.create(prepared("Patient", "late"))
    await three_seconds.create(prepared("Encounter", "late"))
    rest = await three_seconds.history(*what, limit=10, position=first.position)
    assert shown(first) + shown(rest) == shown(whole)
    assert rest.total == whole.total


async def test_a_page_of_none_tells_the_total(three_seconds: TenantStore):
    assert await three_seconds.history(limit=0) == History(versions=(), total=5)


@pytest.mark.parametrize(
    ("since_ms", "versions"),
    [
        (START_MS, [3, 2, 1]),
        (START_MS + 1, [3, 2]),
        (START_MS + SECOND, [3, 2]),
        (START_MS + 2 * SECOND, [3]),
        (START_MS + 2 * SECOND + 1, []),
    ],
)
async def test_since_means_written_at_or_after(
    three_seconds: TenantStore, since_ms: int, versions: list[int]
):
    history = await three_seconds.history("Patient", "a", since_ms=since_ms, limit=10)
    assert [one.version for one in history.versions] == versions
    assert history.total == len(versions)


async def test_since_holds_for_a_type_and_for_all(three_seconds: TenantStore):
    after = START_MS + SECOND
    expected = [("Patient", "a", 3), ("Patient", "a", 2)]
    for what in ((), ("Patient",)):
        found = await pages(three_seconds, *what, since_ms=after, limit=1)
        assert [one for page in found for one in shown(page)] == expected
        assert found[0].total == 2
    assert (await three_seconds.history("Group", since_ms=after, limit=10)).total == 0


@pytest.mark.parametrize(
    ("start", "end", "versions"),
    [
        (0, 1, [1]),
        (-5, 0, []),  # before there was anything
        (SECOND - 1, SECOND, [1]),  # the end is excluded
        (SECOND - 1, SECOND + 1, [2, 1]),
        (SECOND, SECOND + 1, [2]),  # the first was replaced in that very instant
        (0, 3 * SECOND, [3, 2, 1]),
        (9 * SECOND, 10 * SECOND, [3]),  # long after the last write
    ],
)
async def test_at_means_current_at_some_time_of_the_range(
    three_seconds: TenantStore, start: int, end: int, versions: list[int]
):
    at_ms = (START_MS + start, START_MS + end)
    history = await three_seconds.history("Patient", "a", at_ms=at_ms, limit=10)
    assert [one.version for one in history.versions] == versions
    assert history.total == len(versions)


async def test_at_holds_for_a_type_and_for_all(three_seconds: TenantStore):
    at_ms = (START_MS + SECOND, START_MS + SECOND + 1)
    of_type = await pages(three_seconds, "Patient", at_ms=at_ms, limit=1)
    assert [one for page in of_type for one in shown(page)] == [
        ("Patient", "a", 2),
        ("Patient", "b", 1),
    ]
    of_all = await three_seconds.history(at_ms=at_ms, limit=10)
    assert shown(of_all) == [("Patient", "a", 2), ("Group", "a", 1), ("Patient", "b", 1)]
    assert (of_type[0].total, of_all.total) == (2, 3)


async def test_a_history_shows_batches_as_what_they_wrote(
    store: TenantStore, clock: StoreClockByHand
):
    await store.ingest(numbered("Patient", 5))
    clock.step_wall(SECOND)
    await store.ingest([prepared("Patient", "3", b'"active":true'), *numbered("Patient", 2)])
    since = START_MS + SECOND
    assert [one.id for one in (await store.history("Patient", since_ms=since, limit=10)).versions]
    found = await pages(store, "Patient", limit=4)
    assert found[0].total == sum(len(page.versions) for page in found)
    every = [one for page in found for one in page.versions]
    assert every == sorted(every, key=lambda one: one.updated_ms, reverse=True)
    assert len({(one.id, one.version) for one in every}) == len(every)
