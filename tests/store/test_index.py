"""Every write leaves the index saying what the live resources say, and nothing else."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.sqlite import index, live
from backends.sqlite.tenant_store import SqliteTenantStore
from engine.errors import Conflict, NotSupported
from engine.model import Prepared
from engine.ports import WriteSession
from tests.store.conftest import Site
from tests.store.indexed import Index, check_index
from tests.support.builders import prepared

WORDS = ("Apple", "pear", "@a", "@b", "Ünï")


def saying(*words: str, id: str = "a", type: str = "Patient") -> Prepared:
    """A resource with these words, see tests.support.words."""
    return prepared(type, id, b'"words":' + msgspec.json.encode(words))


def parameter(code: str, id: str = "") -> Prepared:
    """A SearchParameter that makes a member of this name searchable."""
    return prepared("SearchParameter", id or code, b'"code":"%b"' % code.encode())


def check(site: Site, store: SqliteTenantStore) -> Index:
    return check_index(site.path, store._file.definitions.newest)


async def test_a_new_resource_is_indexed(site: Site, store: SqliteTenantStore):
    await store.create(saying("Apple", "pear", "@b"))
    rows = check(site, store).rows
    assert [len(rows[table]) for table in ("tok", "ref", "fwd", "str")] == [2, 1, 1, 2]


async def test_an_update_moves_the_index_to_what_the_resource_says_now(
    site: Site, store: SqliteTenantStore
):
    await store.create(saying("Apple", "pear", "@b"))
    await store.update(saying("pear", "plum", "@a"))
    assert {row[1] for row in check(site, store).rows["str"]} == {"pear", "plum"}


async def test_a_resource_keeps_its_number_through_deletion_and_return(
    site: Site, store: SqliteTenantStore
):
    await store.create(saying("Apple"))
    (before,) = check(site, store).live
    await store.delete("Patient", "a")
    assert check(site, store).live == set()
    await store.ingest([saying("pear")])
    (after,) = check(site, store).live
    assert before[0] == after[0]
    assert before[1] != after[1]


async def test_adding_to_a_large_resource_writes_the_difference_alone(
    site: Site, store: SqliteTenantStore, monkeypatch: pytest.MonkeyPatch
):
    members = [f"@{number}" for number in range(5_000)]
    await store.create(saying(*members, type="Group"))
    written: list[Any] = []
    insert = index.insert

    def counted(connection: apsw.Connection, table: str, values: list[Any]) -> None:
        written.extend(values)
        insert(connection, table, values)

    monkeypatch.setattr(index, "insert", counted)
    monkeypatch.setattr(live, "insert", counted)
    await store.update(saying(*members, "@new", type="Group"))
    assert len(written) == 6  # one row of `ref`, one of `fwd`
    assert len(check(site, store).rows["ref"]) == 5_001


async def test_what_is_looked_at_ahead_may_be_out_of_date_when_it_is_written(
    threaded: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("backends.sqlite.resources.AHEAD_BYTES_MIN", 1)
    async with threaded.open() as store:
        await store.create(saying("Apple"))
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(store.update, saying("Apple", f"w{number}"))
        check(threaded, store)


async def test_a_failed_change_leaves_no_row_and_no_false_memory_of_a_term(
    site: Site, store: SqliteTenantStore
):
    async def fail(session: WriteSession) -> None:
        await session.put(saying("Apple", "@b"))
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.transact(fail)
    assert check(site, store).live == set()
    await store.create(saying("Apple", id="b"))
    assert check(site, store).keys


async def test_rows_made_ahead_count_if_they_are_of_this_generation(
    site: Site, store: SqliteTenantStore
):
    search = store._file.definitions.newest
    false = search.rows("Patient", b'{"words":["false"]}')
    first, second = saying("Apple", id="a"), saying("Apple", id="b")
    current = msgspec.structs.replace(first, rows=false, generation=search.generation)
    stale = msgspec.structs.replace(second, rows=false, generation=search.generation + 1)
    await store.create(current)
    await store.ingest([stale])
    said = {row[1] for row in Index(site.path, search).rows["str"]}
    assert said == {"false", "apple"}


async def test_a_dictionary_that_forgets_is_written_again(
    site: Site, store: SqliteTenantStore, monkeypatch: pytest.MonkeyPatch
):
    known = index.KnownKeys(keys_max=2)
    writer = store._file.writer
    monkeypatch.setattr(writer, "_target", with_known(writer._target, known))
    for number in range(10):
        await store.update(saying(f"w{number}", "Apple", id=str(number)))
    check(site, store)


def with_known(target: Any, known: index.KnownKeys) -> Any:
    """The writer's target with another memory of keys."""
    return replace(target, known=known)


async def test_a_row_that_is_there_already_stops_no_write(site: Site, store: SqliteTenantStore):
    """An index that is damaged is made again; until then nothing else suffers."""
    await store.create(saying("Apple", "@b"))

    def forget(transaction: Any) -> None:
        transaction.connection.execute("DELETE FROM live")

    await store._file.writer.apply(forget)
    await store.update(saying("Apple", "pear", "@b"))
    check(site, store)


# The tenant's own search parameters.


async def test_an_own_parameter_is_indexed_from_its_write_on(site: Site, store: SqliteTenantStore):
    before = store._file.definitions.newest.generation
    await store.create(parameter("fruits"))
    await store.create(prepared("Patient", "a", b'"fruits":["Apple"]'))
    index = check(site, store)
    assert {row[1] for row in index.rows["str"]} == {"apple"}
    assert store._file.definitions.newest.generation == before + 1
    assert index.facts == (before + 1, before)  # what was there before has to be looked at


async def test_an_own_parameter_holds_within_the_change_that_writes_it(
    site: Site, store: SqliteTenantStore
):
    async def work(session: WriteSession) -> None:
        await session.put(parameter("fruits"))
        await session.put(prepared("Patient", "a", b'"fruits":["Apple"]'))

    await store.transact(work)
    assert {row[1] for row in check(site, store).rows["str"]} == {"apple"}


async def test_a_change_that_failed_leaves_the_definitions_as_they_were(
    site: Site, store: SqliteTenantStore
):
    before = store._file.definitions.newest

    async def fail(session: WriteSession) -> None:
        await session.put(parameter("fruits"))
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.transact(fail)
    await store.create(parameter("roots"))
    await store.create(prepared("Patient", "a", b'"fruits":["Apple"],"roots":["beet"]'))
    assert {row[1] for row in check(site, store).rows["str"]} == {"beet"}
    assert store._file.definitions.newest.generation == before.generation + 1


async def test_a_parameter_that_cannot_be_one_is_refused(store: SqliteTenantStore):
    with pytest.raises(NotSupported):
        await store.create(parameter("unusable"))
    assert await store.read("SearchParameter", "unusable") is None


async def test_one_that_a_load_brought_stays_out_of_use(site: Site, store: SqliteTenantStore):
    await store.ingest([parameter("unusable"), parameter("fruits")])
    await store.create(prepared("Patient", "a", b'"fruits":["Apple"]'))
    assert {row[1] for row in check(site, store).rows["str"]} == {"apple"}
    assert await store.read("SearchParameter", "unusable") is not None


async def test_another_process_learns_of_new_definitions_with_its_next_write(threaded: Site):
    async with threaded.open() as one, threaded.open() as other:
        await one.create(parameter("fruits"))
        await other.create(prepared("Patient", "a", b'"fruits":["Apple"]'))
        await other.ingest([prepared("Patient", "b", b'"fruits":["pear"]')])
        assert {row[1] for row in check(threaded, one).rows["str"]} == {"apple", "pear"}


async def test_a_path_that_nobody_looks_at_gives_its_number_to_no_other(
    site: Site, store: SqliteTenantStore
):
    await store.create(parameter("fruits"))
    old = store._file.definitions.newest._members["fruits"]  # type: ignore[attr-defined]
    await store.delete("SearchParameter", "fruits")
    await store.create(parameter("roots"))
    await store.create(parameter("fruits"))
    members = store._file.definitions.newest._members  # type: ignore[attr-defined]
    assert old not in members.values()


# Any history.

resources = st.builds(
    lambda words, id, type: saying(*words, id=id, type=type),
    st.lists(st.sampled_from(WORDS), max_size=3),
    st.sampled_from(("a", "b", "c")),
    st.sampled_from(("Patient", "Group")),
)
steps = st.one_of(
    st.tuples(st.just("update"), resources),
    st.tuples(st.just("delete"), st.sampled_from(("a", "b", "c"))),
    st.tuples(st.just("ingest"), st.lists(resources, max_size=6)),
    st.tuples(st.just("transact"), st.lists(resources, max_size=3)),
    st.tuples(st.just("failed"), st.lists(resources, max_size=3)),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
@given(st.lists(steps, max_size=15))
def test_after_any_history_the_index_says_what_is_there(history: list[tuple[str, Any]]) -> None:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(prefix="penstock-index-", dir=memory) as folder:
        checks = trio.run(_live_through, Site(Path(folder), inline=True), history)
    assert checks == len(history)


async def _live_through(site: Site, history: list[tuple[str, Any]]) -> int:
    """Check the index after each step; how often that was."""
    checks = 0
    async with site.open() as store:
        for name, what in history:
            await _take(store, name, what)
            check(site, store)
            checks += 1
    return checks


async def _take(store: SqliteTenantStore, name: str, what: Any) -> None:
    async def put_all(session: WriteSession) -> None:
        for resource in what:
            await session.put(resource)
        if name == "failed":
            raise Conflict("no")

    match name:
        case "update":
            await store.update(what)
        case "delete":
            await store.delete("Patient", what)
        case "ingest":
            await store.ingest(what)
        case "transact":
            await store.transact(put_all)
        case _:
            with pytest.raises(Conflict):
                await store.transact(put_all)
