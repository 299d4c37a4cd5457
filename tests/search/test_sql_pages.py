"""Pages of a search while others write: what did not change comes exactly once, what changed and
still matches at least once, on every way to an answer."""

from random import Random

import pytest

from backends.sqlite.search.run import search_page
from backends.sqlite.search.view import Limits
from engine.errors import BadParameter
from engine.fhir.body import prepare
from tests.oracle.searched import BODY_BYTES_MAX
from tests.search.test_sql_ways import WAYS, opened, parsed
from tests.support.fhir_data import Generator

QUERIES = (
    "Observation",
    "Observation?date=ge2000",
    "Observation?status:not=final",
    "Observation?subject:missing=false&date:missing=false",
    "Observation?_sort=date",
    "Observation?_sort=-date",
    "Observation?_sort=code",
    "Observation?_sort=-value-quantity",
    "Observation?_sort=-_lastUpdated",
    "Observation?_sort=_lastUpdated",
    "Observation?_sort=_id",
    "Observation?_sort=status,-date",
    "Patient?_sort=family,_id",
    "Patient?_sort=-given",
    "Patient?birthdate=ge1900&_sort=birthdate",
    "?_type=Patient,Observation&_sort=-_lastUpdated",
    "?_type=Patient,Observation&_sort=_id",
    "?_lastUpdated=ge2000",
)
CHANGES = 6  # between two pages
PAGE = 3


def keys(versions):
    return [(one.type, one.id) for one in versions]


async def change(store, steps, random, changed):
    """Some things happen to the resources; which ones is noted."""
    for step in random.sample(steps, CHANGES):
        changed.add((step.type, step.id))
        if step.body is None or random.random() < 0.2:
            await store.delete(step.type, step.id)
        else:
            await store.update(prepare(step.body, bytes_max=BODY_BYTES_MAX))


@pytest.mark.parametrize("way", [*WAYS, "as it is"])
async def test_pages_miss_nothing_and_repeat_only_what_changed(way, tmp_path):
    limits = WAYS.get(way, Limits())
    random = Random(way)
    happened = 0
    async with opened(tmp_path, world=5) as (store, connection, search):
        steps = [one for one in Generator(6).steps(3) if one.type in ("Patient", "Observation")]
        for text in QUERIES:
            query = parsed(search, text)
            changed, seen, position = set(), [], b""
            before = keys(search_page(connection, query, search, limit=9999).matches)
            while True:
                page = search_page(
                    connection, query, search, limit=PAGE, position=position, limits=limits
                )
                seen += keys(page.matches)
                position = page.position
                if not position:
                    break
                if not changed or (random.random() < 0.6 and len(changed) < 60):
                    await change(store._store, steps, random, changed)
            after = keys(search_page(connection, query, search, limit=9999).matches)
            unchanged = [key for key in before if key not in changed]
            assert [key for key in seen if key not in changed] == unchanged, text
            assert set(after) & changed <= set(seen), text
            happened += len(changed)
    assert happened > len(QUERIES) * CHANGES


async def test_without_changes_pages_are_the_whole_in_order(tmp_path):
    async with opened(tmp_path, world=5) as (_, connection, search):
        for text in QUERIES:
            query = parsed(search, text)
            whole = search_page(connection, query, search, limit=9999)
            assert not whole.position
            seen, position = [], b""
            while len(seen) < len(whole.matches):
                page = search_page(connection, query, search, limit=3, position=position)
                seen += page.matches
                position = page.position
            assert tuple(seen) == whole.matches, text
            assert not position, text


async def test_a_position_of_another_kind_of_query_is_refused(tmp_path):
    async with opened(tmp_path, world=5) as (_, connection, search):
        sorted_ = parsed(search, "Observation?_sort=date")
        position = search_page(connection, sorted_, search, limit=1).position
        plain = parsed(search, "Observation")
        for bad in (position, b"x", b"\xc1", position[:-1]):
            with pytest.raises(BadParameter, match="begin again"):
                search_page(connection, plain, search, limit=1, position=bad)


async def test_a_position_from_the_future_is_refused(tmp_path):
    """As after the restore of a backup."""
    async with opened(tmp_path, world=5) as (store, connection, search):
        query = parsed(search, "Observation")
        await store._store.delete("Observation", keys(store.world.of_type("Observation"))[0][1])
        position = search_page(connection, query, search, limit=1).position
        connection.execute("UPDATE meta SET seq = seq - 1")
        with pytest.raises(BadParameter, match="begin again"):
            search_page(connection, query, search, limit=1, position=position)
