"""Transactions: changes of several resources, or such as depend on what is there."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from engine.errors import Conflict, NotSupported
from engine.fhir.search.tree import Compare, Query, Token
from engine.model import Version
from engine.ports import TenantStore, WriteSession
from tests.support.builders import prepared

Work = Callable[[WriteSession], Awaitable[object]]


async def names(store: TenantStore) -> list[tuple[str, str, int]]:
    history = await store.history(limit=100)
    return [(one.type, one.id, one.version) for one in history.versions]


async def test_all_of_a_change_is_there_when_it_returns(store: TenantStore):
    async def work(session: WriteSession) -> str:
        await session.put(prepared("Patient", "a"))
        await session.put(prepared("Group", "b"))
        return "done"

    assert await store.transact(work) == "done"
    assert await names(store) == [("Group", "b", 1), ("Patient", "a", 1)]


async def test_what_the_work_raises_undoes_all_of_it(store: TenantStore):
    await store.create(prepared("Patient", "old"))
    before, facts = await names(store), await store.statistics()

    async def work(session: WriteSession) -> None:
        await session.put(prepared("Encounter", "new"))
        await session.put(prepared("Patient", "old", b'"active":true'))
        await session.delete("Patient", "old")
        raise Conflict("changed its mind")

    with pytest.raises(Conflict, match="changed its mind"):
        await store.transact(work)
    assert await names(store) == before
    assert (await store.statistics()).rows == facts.rows
    assert (await store.update(prepared("Patient", "old"))).version.version == 2


async def test_a_session_sees_what_it_has_done(store: TenantStore):
    async def work(session: WriteSession) -> list[Version | None]:
        seen = [await session.read("Patient", "a")]
        written = await session.put(prepared("Patient", "a"))
        seen += [written.version, await session.read("Patient", "a")]
        seen += [await session.delete("Patient", "a"), await session.read("Patient", "a")]
        return seen

    nothing, put, read, tombstone, gone = await store.transact(work)
    assert nothing is None
    assert read == put
    assert gone == tombstone
    assert gone is not None
    assert (gone.deleted, gone.version) == (True, 2)


async def test_put_says_whether_there_was_a_live_one(store: TenantStore):
    async def work(session: WriteSession) -> list[tuple[bool, int]]:
        written = [await session.put(prepared()), await session.put(prepared())]
        await session.delete("Patient", "p1")
        written.append(await session.put(prepared()))
        return [(one.created, one.version.version) for one in written]

    assert await store.transact(work) == [(True, 1), (False, 2), (True, 4)]


async def test_delete_of_what_was_deleted_gives_the_tombstone_there_is(store: TenantStore):
    await store.create(prepared())
    tombstone = await store.delete("Patient", "p1")

    async def work(session: WriteSession) -> tuple[Version | None, Version | None]:
        return await session.delete("Patient", "p1"), await session.delete("Patient", "none")

    assert await store.transact(work) == (tombstone, None)
    assert len(await names(store)) == 2


async def test_a_change_that_only_reads_writes_nothing(store: TenantStore):
    await store.create(prepared())
    before = await store.statistics()

    async def work(session: WriteSession) -> Version | None:
        return await session.read("Patient", "p1")

    assert await store.transact(work) == await store.read("Patient", "p1")
    assert await store.statistics() == before


async def test_work_that_waits_for_something_else_is_a_bug_and_undone(store: TenantStore):
    class Elsewhere:
        """Something to wait for that is no method of the session."""

        def __await__(self):
            yield

    async def work(session: WriteSession) -> None:
        await session.put(prepared())
        await Elsewhere()

    with pytest.raises(AssertionError, match="waited for something else"):
        await store.transact(work)
    assert await names(store) == []


async def test_of_many_that_look_first_exactly_one_creates(store: TenantStore):
    async def create_once(session: WriteSession) -> bool:
        if await session.read("Patient", "p1") is not None:
            return False
        return (await session.put(prepared())).created

    created: list[bool] = []

    async def one() -> None:
        created.append(await store.transact(create_once))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert sorted(created) == [False] * 49 + [True]
    assert await names(store) == [("Patient", "p1", 1)]


async def test_of_many_that_add_to_one_none_is_lost(store: TenantStore):
    await store.create(prepared("Patient", "p1", b'"n":0'))

    async def add(session: WriteSession) -> None:
        current = await session.read("Patient", "p1")
        assert current is not None
        assert current.body is not None
        count = int(current.body.rpartition(b":")[2].rstrip(b"}"))
        await session.put(prepared("Patient", "p1", b'"n":%d' % (count + 1)))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(store.transact, add)
    last = await store.read("Patient", "p1")
    assert last is not None
    assert last.body is not None
    assert last.body.endswith(b'"n":50}')
    assert last.version == 51


async def test_one_that_fails_takes_no_other_with_it(store: TenantStore):
    async def fail(session: WriteSession) -> None:
        await session.put(prepared("Patient", "failed"))
        raise NotSupported("no")

    async def failing() -> None:
        with pytest.raises(NotSupported):
            await store.transact(fail)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(store.create, prepared("Patient", str(number)))
            nursery.start_soon(failing)
    assert {id for _, id, _ in await names(store)} == {"0", "1", "2", "3", "4"}


async def test_cancelled_before_it_began_nothing_happens(store: TenantStore):
    async def work(session: WriteSession) -> None:
        await session.put(prepared())

    with trio.CancelScope() as scope:
        scope.cancel()
        await store.transact(work)
    assert scope.cancelled_caught
    assert await names(store) == []


async def test_of_many_that_search_first_exactly_one_creates(store: TenantStore):
    """What `If-None-Exist` asks for: the search sees what the change before it wrote."""
    search = await store.search_definitions()
    identifier = search.parameter("Patient", "identifier")
    assert identifier is not None
    same = Compare(identifier, (Token("http://example.org/ids", "7"),))
    query = Query(types=("Patient",), criteria=(same,))
    members = b'"identifier":[{"system":"http://example.org/ids","value":"7"}]'
    found: list[int] = []

    async def create(id: str) -> None:
        async def work(session: WriteSession) -> int:
            matches = await session.find(query, limit=2)
            if not matches:
                await session.put(prepared("Patient", id, members))
            return len(matches)

        found.append(await store.transact(work))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(create, f"p{number}")
    assert sorted(found) == [0] + [1] * 49
    assert len(await names(store)) == 1


async def test_a_search_within_a_change_sees_what_the_change_wrote(store: TenantStore):
    search = await store.search_definitions()
    active = search.parameter("Patient", "active")
    assert active is not None
    query = Query(types=("Patient",), criteria=(Compare(active, (Token(None, "true"),)),))

    async def work(session: WriteSession) -> list[list[str]]:
        seen = []
        await session.put(prepared("Patient", "a", b'"active":true'))
        await session.put(prepared("Patient", "b", b'"active":true'))
        seen.append([one.id for one in await session.find(query, limit=10)])
        await session.put(prepared("Patient", "a", b'"active":false'))
        seen.append([one.id for one in await session.find(query, limit=10)])
        await session.delete("Patient", "b")
        seen.append([one.id for one in await session.find(query, limit=10)])
        return seen

    assert await store.transact(work) == [["a", "b"], ["b"], []]


async def test_what_one_change_wrote_several_times_is_found_by_what_it_says_last(
    store: TenantStore,
):
    search = await store.search_definitions()
    active = search.parameter("Patient", "active")
    assert active is not None
    yes = Query(types=("Patient",), criteria=(Compare(active, (Token(None, "true"),)),))
    no = Query(types=("Patient",), criteria=(Compare(active, (Token(None, "false"),)),))

    async def work(session: WriteSession) -> None:
        for id in ("a", "b", "c"):
            await session.put(prepared("Patient", id, b'"active":true'))
        await session.put(prepared("Patient", "a", b'"active":false'))
        await session.delete("Patient", "b")

    await store.transact(work)
    assert [one.id for one in (await store.search(yes, limit=10)).matches] == ["c"]
    assert [one.id for one in (await store.search(no, limit=10)).matches] == ["a"]
