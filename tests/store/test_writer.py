"""The writer: many requests, one commit; each stands or falls alone."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from backends.sqlite.tenant_store import SqliteTenantStore
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.writer import QUEUE_BYTES_MAX, Writer
from engine.errors import Conflict, StoreUnavailable
from tests.store.conftest import Site
from tests.support.builders import prepared

Operation = Callable[[WriteTransaction], object]


@pytest.fixture
async def store(threaded: Site) -> AsyncIterator[SqliteTenantStore]:
    async with threaded.open() as store:
        yield store


@pytest.fixture
def writer(store: SqliteTenantStore) -> Writer:
    return store._file.writer


@asynccontextmanager
async def busy(writer: Writer) -> AsyncIterator[trio.Nursery]:
    """While the block runs the writer is busy, so what is asked of it in the nursery waits
    and comes into one group."""
    token, begun, go_on = trio.lowlevel.current_trio_token(), trio.Event(), threading.Event()

    def block(transaction: WriteTransaction) -> None:
        token.run_sync_soon(begun.set)
        go_on.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.apply, block)
        await begun.wait()
        try:
            yield nursery
            await trio.testing.wait_all_tasks_blocked()
        finally:
            go_on.set()


class Log:
    """Operations that note which transaction they ran in."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, WriteTransaction]] = []
        self.answers: dict[str, object] = {}

    async def ask(self, writer: Writer, name: str, operation: Operation | None = None) -> None:
        def run(transaction: WriteTransaction) -> object:
            self.runs.append((name, transaction))
            return operation(transaction) if operation else name

        try:
            self.answers[name] = await writer.apply(run)
        except (Conflict, StoreUnavailable, AssertionError) as error:
            self.answers[name] = type(error)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.runs]

    @property
    def transactions(self) -> int:
        return len({id(transaction) for _, transaction in self.runs})


def make_table(transaction: WriteTransaction) -> None:
    transaction.connection.execute("CREATE TABLE IF NOT EXISTS note (name)")


def noting(name: str, then: Exception | None = None) -> Operation:
    def note(transaction: WriteTransaction) -> str:
        transaction.connection.execute("INSERT INTO note VALUES (?)", (name,))
        if then:
            raise then
        return name

    return note


async def notes(store: SqliteTenantStore) -> list[str]:
    return await store._file.points.call(
        lambda connection: [row[0] for row in connection.execute("SELECT name FROM note")]
    )


async def test_requests_that_wait_share_one_transaction(writer: Writer) -> None:
    log = Log()
    async with busy(writer) as nursery:
        for number in range(50):
            nursery.start_soon(log.ask, writer, str(number))
    assert len(log.answers) == 50
    assert log.transactions == 1


async def test_a_failing_request_undoes_only_itself(
    store: SqliteTenantStore, writer: Writer
) -> None:
    log = Log()
    await writer.apply(make_table)
    async with busy(writer) as nursery:
        nursery.start_soon(log.ask, writer, "a", noting("a"))
        nursery.start_soon(log.ask, writer, "b", noting("b", Conflict("no")))
        nursery.start_soon(log.ask, writer, "bug", noting("bug", AssertionError("a bug")))
        nursery.start_soon(log.ask, writer, "c", noting("c"))
    assert sorted(await notes(store)) == ["a", "c"]
    assert log.answers == {"a": "a", "b": Conflict, "bug": AssertionError, "c": "c"}
    assert log.transactions == 1


async def test_a_failing_request_takes_no_number_and_no_time(
    store: SqliteTenantStore, writer: Writer
) -> None:
    def fail_late(transaction: WriteTransaction) -> None:
        transaction.take_seq(100)
        transaction.stamp()
        transaction.cut()
        raise Conflict("no")

    before = await store.statistics()
    with pytest.raises(Conflict):
        await writer.apply(fail_late)
    assert await store.statistics() == before


async def test_a_request_that_breaks_the_transaction_fails_alone(
    store: SqliteTenantStore, writer: Writer
) -> None:
    def break_it(transaction: WriteTransaction) -> None:
        transaction.connection.execute("ROLLBACK")
        raise StoreUnavailable("gone")

    log = Log()
    await writer.apply(make_table)
    async with busy(writer) as nursery:
        for name in "ab":
            nursery.start_soon(log.ask, writer, name, noting(name))
        nursery.start_soon(log.ask, writer, "x", break_it)
        for name in "cd":
            nursery.start_soon(log.ask, writer, name, noting(name))
    assert sorted(await notes(store)) == ["a", "b", "c", "d"]
    assert log.answers == {"x": StoreUnavailable, **{name: name for name in "abcd"}}
    assert log.names.count("x") == 1


async def test_a_full_disk_is_said_and_survived(store: SqliteTenantStore, writer: Writer) -> None:
    def allow_pages(more: int | None) -> Operation:
        def allow(transaction: WriteTransaction) -> None:
            pages = transaction.connection.pragma("page_count")
            limit = 1 << 30 if more is None else pages + more
            transaction.connection.pragma("max_page_count", limit)

        return allow

    await writer.apply(allow_pages(2))
    with pytest.raises(StoreUnavailable, match="no space is left"):
        await store.update(prepared(members=b'"text":"%b"' % (b"x" * 100_000)))
    assert await store.read("Patient", "p1") is None
    await writer.apply(allow_pages(None))
    assert (await store.update(prepared())).version.version == 1


async def test_a_waiting_request_of_a_cancelled_caller_is_dropped(writer: Writer) -> None:
    log = Log()
    async with busy(writer) as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as impatient:
                impatient.start_soon(log.ask, writer, "dropped")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        nursery.start_soon(log.ask, writer, "kept")
    assert log.names == ["kept"]


async def test_a_started_request_runs_out_though_its_caller_is_cancelled(
    store: SqliteTenantStore, writer: Writer
) -> None:
    await writer.apply(make_table)
    token, go_on = trio.lowlevel.current_trio_token(), threading.Event()
    async with trio.open_nursery() as nursery:
        begun = trio.Event()

        def slow(transaction: WriteTransaction) -> None:
            token.run_sync_soon(begun.set)
            go_on.wait()
            transaction.connection.execute("INSERT INTO note VALUES ('slow')")

        nursery.start_soon(writer.apply, slow)
        await begun.wait()
        nursery.cancel_scope.cancel()
    go_on.set()
    await writer.apply(lambda transaction: None)  # behind it
    assert await notes(store) == ["slow"]


async def test_a_group_ends_when_its_time_is_up(threaded: Site, writer: Writer) -> None:
    log = Log()
    async with busy(writer) as nursery:
        for name in "abcd":
            nursery.start_soon(
                log.ask, writer, name, lambda transaction: threaded.clock.advance(0.2)
            )
    assert sorted(log.names) == ["a", "b", "c", "d"]
    assert log.transactions == 2


async def test_waiting_batches_are_bounded_in_bytes(writer: Writer) -> None:
    half = QUEUE_BYTES_MAX // 2
    done = []

    async def ask() -> None:
        await writer.apply(lambda transaction: None, size_bytes=half)
        done.append(writer.statistics().bytes)

    async with busy(writer) as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert writer.statistics().requests == 2
        assert writer.statistics().bytes == QUEUE_BYTES_MAX
    assert len(done) == 5
    assert writer.statistics().bytes == 0


async def test_one_request_larger_than_the_queue_is_taken_alone(writer: Writer) -> None:
    assert await writer.apply(lambda transaction: "done", size_bytes=2 * QUEUE_BYTES_MAX) == "done"


async def test_a_closing_store_does_what_waits(threaded: Site) -> None:
    log = Log()
    async with threaded.open() as store:
        writer = store._file.writer
        await writer.apply(make_table)
        async with busy(writer) as nursery:
            nursery.start_soon(log.ask, writer, "a", noting("a"))
    async with threaded.open() as store:
        assert await notes(store) == ["a"]


async def test_a_cancelled_store_refuses_what_waits_and_leaves_nobody_waiting(
    threaded: Site,
) -> None:
    token, begun, go_on = trio.lowlevel.current_trio_token(), trio.Event(), threading.Event()
    log = Log()

    def block(transaction: WriteTransaction) -> str:
        token.run_sync_soon(begun.set)
        go_on.wait()
        return "done"

    async def keep_open(task_status: trio.TaskStatus[Writer]) -> None:
        with trio.CancelScope() as scope:
            async with threaded.open() as store:
                scopes.append(scope)
                task_status.started(store._file.writer)
                await trio.sleep_forever()

    scopes: list[trio.CancelScope] = []
    async with trio.open_nursery() as nursery:
        writer = await nursery.start(keep_open)
        nursery.start_soon(log.ask, writer, "started", block)
        await begun.wait()
        nursery.start_soon(log.ask, writer, "waiting")
        await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        go_on.set()
    assert log.answers == {"started": "done", "waiting": StoreUnavailable}
    with pytest.raises(StoreUnavailable):
        await writer.apply(lambda transaction: None)
