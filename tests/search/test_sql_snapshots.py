"""What matched at an earlier state, after the store went on."""

import apsw
import pytest

from backends.sqlite.search.run import search_page
from backends.sqlite.search.snapshots import select_at
from engine.fhir.body import prepare
from engine.model import JobId
from tests.oracle.queries import Queries
from tests.oracle.searched import BODY_BYTES_MAX
from tests.search.test_sql_ways import opened, parsed
from tests.support.fhir_data import BASE, Generator

QUERIES = (
    "Patient",
    "Observation?status=final",
    "Observation?date=ge2000&status:not=final",
    "Observation?subject:Patient.gender:not=male",
    "Patient?_has:Observation:subject:date=ge2000",
    "Patient?family:missing=false",
    "Observation?value-quantity=gt5",
    "?_type=Patient,Encounter,List",
    "?_lastUpdated=ge2000",
)


def chosen(connection, job):
    """Type, id and version of what was kept."""
    return sorted(
        connection.execute(
            "SELECT v.rid >> 40, v.id, v.ver FROM selection AS s JOIN version AS v USING (rid) "
            "WHERE s.job = ?",
            (job,),
        ).fetchall()
    )


def matches(connection, query, search):
    numbers = dict(connection.execute("SELECT name, type_id FROM resource_type").fetchall())
    page = search_page(connection, query, search, limit=9999)
    return sorted((numbers[one.type], one.id, one.version) for one in page.matches)


async def go_on(store):
    """Updates, deletions and new resources."""
    for step in Generator(77).steps(2):
        if step.body is None:
            await store.delete(step.type, step.id)
        else:
            await store.update(prepare(step.body, bytes_max=BODY_BYTES_MAX))


@pytest.mark.parametrize("text", QUERIES)
async def test_what_matched_then_is_kept_as_it_was_then(text, tmp_path):
    async with opened(tmp_path, world=3) as (store, connection, search):
        query = parsed(search, text)
        before = matches(connection, query, search)
        snapshot = await store._store.open_snapshot(JobId("j"))
        await go_on(store._store)
        assert matches(connection, query, search) != before
        assert select_at(connection, query, search, seq=snapshot.seq, job="j") == len(before)
        assert chosen(connection, "j") == before


async def test_the_index_is_as_before_when_all_is_kept(tmp_path):
    async with opened(tmp_path, world=3) as (store, connection, search):
        query = parsed(search, "Observation?status=final")
        snapshot = await store._store.open_snapshot(JobId("j"))
        await go_on(store._store)
        after = matches(connection, query, search)
        for job in ("a", "b"):
            select_at(connection, query, search, seq=snapshot.seq, job=job)
        assert chosen(connection, "a") == chosen(connection, "b")
        assert matches(connection, query, search) == after
        assert connection.execute("SELECT count(*) FROM temp.sqlite_schema").get == 0


async def test_any_query_is_kept_as_it_was(tmp_path):
    async with opened(tmp_path, world=4) as (store, connection, search):
        queries = Queries(5, store.world, BASE)
        texts = [queries.make() for _ in range(80)]
        asked = [parsed(search, text) for text in texts]
        before = [matches(connection, query, search) for query in asked]
        snapshot = await store._store.open_snapshot(JobId("j"))
        await go_on(store._store)
        for number, query in enumerate(asked):
            select_at(connection, query, search, seq=snapshot.seq, job=str(number))
            assert chosen(connection, str(number)) == before[number], texts[number]


async def test_a_selection_that_fails_leaves_nothing(tmp_path):
    async with opened(tmp_path, world=3) as (store, connection, search):
        query = parsed(search, "Observation?status=final")
        await go_on(store._store)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ALTER TABLE selection RENAME TO elsewhere")
        with pytest.raises(apsw.SQLError):
            select_at(connection, query, search, seq=5, job="j")
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM temp.sqlite_schema").get == 0
        assert search_page(connection, query, search, limit=1).matches
