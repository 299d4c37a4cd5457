"""Reindex: from nothing or from older definitions to an index that says what is there."""

import secrets
from typing import Any

import apsw
import pytest

from backends.sqlite import reindex
from backends.sqlite.connection import Tuning, open_connection
from backends.sqlite.definitions import require_indexed
from backends.sqlite.migrate import TENANT, load_migrations, prepare_file
from backends.sqlite.tenant_store import SqliteTenantStore
from engine.errors import LeaseLost, NotIndexed
from engine.fhir.search.tree import Compare, Query, Token
from engine.model import JobId
from engine.ports import WriteSession
from tests.store.conftest import Site
from tests.store.indexed import check_index
from tests.store.test_index import check, parameter, saying
from tests.support.builders import prepared
from tests.support.words import WordsMaker

JOB = JobId("reindex")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "STEP_ROWS_MAX", 3)


async def run(store: SqliteTenantStore, *, token: int = 1, rebuild: bool = False) -> int:
    """The whole work; how many resources it indexed."""
    await store.begin_reindex(JOB, token, rebuild=rebuild)
    return await go_on(store, token=token)


async def go_on(store: SqliteTenantStore, *, token: int = 1) -> int:
    fixed = 0
    while not (step := await store.step_reindex(JOB, token)).done:
        fixed += step.fixed
    return fixed


def query(store: SqliteTenantStore, code: str) -> Query:
    found = store._file.definitions.newest.parameter("Patient", code)
    assert found is not None
    return Query(types=("Patient",), criteria=(Compare(found, (Token(None, "apple"),)),))


async def may_be_searched(store: SqliteTenantStore, code: str) -> bool:
    try:
        await store._file.points.call(require_indexed, query(store, code))
    except NotIndexed:
        return False
    return True


def write_schema_1(site: Site) -> None:
    """A store as an older program left it: two versions of a, b, and c deleted."""
    prepare_file(site.path, TENANT, load_migrations(TENANT)[:1])
    connection = open_connection(site.path, Tuning())
    try:
        connection.execute(
            "INSERT INTO meta VALUES (1, 'old', 5, 0, 1000);"
            "INSERT INTO resource_type (name, live) VALUES ('Patient', 2)"
        )
        add = _OldVersions(connection)
        add("a", 1, 1, replaced_by=3)
        add("b", 2, 1)
        add("a", 3, 2)
        add("c", 4, 1, replaced_by=5)
        add("c", 5, 2, deleted=True)
    finally:
        connection.close()


class _OldVersions:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __call__(
        self, id: str, seq: int, ver: int, *, replaced_by: int = 0, deleted: bool = False
    ) -> None:
        rid = 1 << 40 | seq
        body = None if deleted else saying("Apple", f"w{seq}", "@b", id=id).body(ver, "1970")
        sup = (1 << 61) + replaced_by if replaced_by else 1 << 62
        values = (rid, id, ver, sup, int(deleted), body)
        self._connection.execute(
            "INSERT INTO version (rid, id, ver, upd_ms, sup, flags, body) "
            "VALUES (?1, ?2, ?3, 1000, ?4, ?5, ?6)",
            values,
        )
        self._connection.execute(
            "INSERT INTO versions (type, id, ver, rid) VALUES (1, ?, ?, ?)", (id, ver, rid)
        )


async def test_a_new_store_can_be_searched_at_once(store: SqliteTenantStore):
    assert await may_be_searched(store, "words")


async def test_a_store_of_an_older_program_says_what_to_do(site: Site):
    write_schema_1(site)
    async with site.open() as store:
        with pytest.raises(NotIndexed, match="penstock reindex"):
            await store._file.points.call(require_indexed, query(store, "words"))


async def test_a_store_of_an_older_program_is_indexed_whole(site: Site):
    write_schema_1(site)
    async with site.open() as store:
        assert await run(store) == 2
        assert await may_be_searched(store, "words")
        index = check(site, store)
        assert {res for res, _, _ in index.live} == {1 << 40 | 1, 1 << 40 | 2}
        assert (await store.history(limit=0)).total == 5


async def test_writes_before_and_during_the_work_lose_nothing(site: Site):
    write_schema_1(site)
    async with site.open() as store:
        await store.update(saying("pear", id="b"))
        await store.begin_reindex(JOB, 1)
        await store.step_reindex(JOB, 1)
        await store.update(saying("plum", id="a"))
        await store.delete("Patient", "b")
        await store.update(saying("Apple", id="c"))
        await store.create(saying("Apple", id="first", type="Group"))
        await go_on(store)
        check(site, store)


async def test_after_a_new_parameter_only_its_searches_wait_for_the_work(
    site: Site, store: SqliteTenantStore
):
    for number in range(7):
        await store.create(prepared("Patient", str(number), b'"fruits":["Apple"]'))
    await store.create(parameter("fruits"))
    assert await may_be_searched(store, "words")
    assert not await may_be_searched(store, "fruits")
    assert await run(store) == 7
    assert await may_be_searched(store, "fruits")
    check(site, store)


async def test_an_update_before_the_work_comes_by_is_whole(site: Site, store: SqliteTenantStore):
    """What did not change in the body is in no difference, yet it has no rows so far."""
    await store.create(prepared("Patient", "a", b'"fruits":["Apple"]'))
    await store.create(parameter("fruits"))
    await store.update(prepared("Patient", "a", b'"fruits":["Apple"],"words":["pear"]'))
    assert {row[1] for row in check(site, store).rows["str"]} == {"apple", "pear"}


async def test_a_deletion_before_the_work_comes_by_leaves_nothing(
    site: Site, store: SqliteTenantStore
):
    await store.create(prepared("Patient", "a", b'"fruits":["Apple"],"words":["pear"]'))
    await store.create(parameter("fruits"))
    await store.delete("Patient", "a")
    assert check(site, store).rows["str"] == set()


async def test_definitions_that_change_during_the_work_begin_it_again(
    site: Site, store: SqliteTenantStore
):
    for number in range(5):
        await store.create(prepared("Patient", str(number), b'"fruits":["a"],"roots":["b"]'))
    await store.create(parameter("fruits"))
    await store.begin_reindex(JOB, 1)
    await store.step_reindex(JOB, 1)
    await store.create(parameter("roots"))
    await go_on(store)
    assert await may_be_searched(store, "fruits")
    assert await may_be_searched(store, "roots")
    check(site, store)


async def test_a_rebuild_makes_everything_again(site: Site, store: SqliteTenantStore):
    for number in range(7):
        await store.create(saying("Apple", f"w{number}", "@b", id=str(number)))

    def damage(transaction: Any) -> None:
        transaction.connection.execute("DELETE FROM tok; INSERT INTO tok VALUES (1, 2)")

    await store._file.writer.apply(damage)
    await store.begin_reindex(JOB, 1, rebuild=True)
    assert not await may_be_searched(store, "words")
    await store.update(saying("Apple", "new", id="1"))
    assert await go_on(store) == 6
    assert await may_be_searched(store, "words")
    check(site, store)


async def test_work_taken_up_again_goes_on_where_it_was(site: Site, store: SqliteTenantStore):
    for number in range(9):
        await store.create(saying("Apple", id=str(number)))
    await store.begin_reindex(JOB, 1, rebuild=True)
    first = await store.step_reindex(JOB, 1)
    await store.begin_reindex(JOB, 2)
    assert first.fixed + await go_on(store, token=2) == 9
    check(site, store)


async def test_a_worker_that_lost_the_work_changes_nothing(site: Site, store: SqliteTenantStore):
    await store.create(saying("Apple"))
    await store.begin_reindex(JOB, 1, rebuild=True)
    await store.begin_reindex(JOB, 2)
    with pytest.raises(LeaseLost):
        await store.step_reindex(JOB, 1)
    with pytest.raises(LeaseLost):
        await store.begin_reindex(JOB, 1)
    await go_on(store, token=2)
    with pytest.raises(LeaseLost):
        await store.step_reindex(JOB, 2)  # it is done
    check(site, store)


async def test_a_step_that_was_overtaken_between_reading_and_writing_does_nothing(
    site: Site, store: SqliteTenantStore, monkeypatch: pytest.MonkeyPatch
):
    for number in range(4):
        await store.create(saying("Apple", id=str(number)))
    await store.begin_reindex(JOB, 1, rebuild=True)
    found = await store._file.scans.call(store._look, JOB, 1)
    await store.update(saying("pear", id="0"))
    await store.delete("Patient", "1")
    step = await store._file.writer.apply(lambda t: reindex._write(t, JOB, 1, found))
    assert step.fixed == 1  # the third; the first two have been written since
    again = await store._file.writer.apply(lambda t: reindex._write(t, JOB, 1, found))
    assert again.looked == 0
    await go_on(store)
    check(site, store)


async def test_one_large_body_fills_a_step(
    site: Site, store: SqliteTenantStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reindex, "STEP_BYTES_MAX", 100)
    for number in range(3):
        await store.create(saying("Apple", secrets.token_hex(200), id=str(number)))
    await store.begin_reindex(JOB, 1, rebuild=True)
    assert (await store.step_reindex(JOB, 1)).looked == 1
    await go_on(store)
    check(site, store)


async def test_a_newer_program_numbers_the_paths_that_it_has_more(site: Site):
    async with site.open() as store:
        await store.create(prepared("Patient", "a", b'"words":["pear"],"fruits":["Apple"]'))
    site.maker = WordsMaker("words", "fruits")
    async with site.open() as store:
        assert await may_be_searched(store, "words")
        assert not await may_be_searched(store, "fruits")
        await run(store)
        assert await may_be_searched(store, "fruits")
        assert len(check_index(site.path, store._file.definitions.newest).rows["str"]) == 2


async def test_settings_that_have_changed_hold_from_the_next_rebuild_on(site: Site):
    """Until then the index stays true to itself."""
    async with site.open() as store:
        await store.create(saying("Apple", "pear"))
    site.maker = WordsMaker(made_for="big ")
    async with site.open() as store:
        await store.update(saying("Apple", "plum"))
        assert {row[1] for row in check(site, store).rows["str"]} == {"apple", "plum"}
        await run(store, rebuild=True)
        assert {row[1] for row in check(site, store).rows["str"]} == {"big apple", "big plum"}
        await store.update(saying("Apple"))
        assert {row[1] for row in check(site, store).rows["str"]} == {"big apple"}


async def test_the_work_of_an_empty_store_is_done_at_once(store: SqliteTenantStore):
    assert await run(store) == 0
    assert await may_be_searched(store, "words")


async def test_a_change_in_the_middle_of_the_work_sees_its_own_index(
    site: Site, store: SqliteTenantStore
):
    async def work(session: WriteSession) -> None:
        await session.put(saying("Apple", id="x"))
        await session.put(saying("pear", id="x"))

    await store.create(saying("Apple"))
    await store.begin_reindex(JOB, 1, rebuild=True)
    await store.transact(work)
    await go_on(store)
    check(site, store)
