"""Parsing and storing side by side: what is reported is what is in the store."""

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from backends.clock import SystemStoreClock
from engine.errors import StoreUnavailable
from engine.fhir.body import prepare
from engine.model import Ingested
from engine.ports import Ports
from engine.tenant import DEFAULT_TENANT
from tests.support.ports import memory_ports, memory_world, sqlite_ports
from web.cli.loading.parsing import Parsed
from web.cli.loading.pipeline import WAITING_MAX, Pipeline

ROWS = 10


@pytest.fixture(params=["memory", "sqlite"])
async def ports(request, tmp_path) -> AsyncIterator[Ports]:
    clock = SystemStoreClock()  # batches are parsed in a real thread
    memory = memory_ports(memory_world(clock=clock))
    async with (
        memory if request.param == "memory" else sqlite_ports(tmp_path, store_clock=clock) as ports
    ):
        await ports.tenants.ensure(DEFAULT_TENANT)
        yield ports


def batch(number: int) -> Parsed:
    """Some resources that no other batch has."""
    bodies = [b'{"resourceType":"Basic","id":"%d-%d"}' % (number, n) for n in range(ROWS)]
    return Parsed(
        resources=[prepare(body, bytes_max=1_000) for body in bodies],
        rejected=[],
        notices=[],
        conditional=0,
        unresolved=0,
        bytes_read=0,
    )


class Counted:
    """A report that adds up."""

    def __init__(self) -> None:
        self.created = 0
        self.batches = 0

    def take(self, parsed: Parsed, done: Ingested) -> None:
        self.created += done.created
        self.batches += 1


async def stored(ports: Ports) -> int:
    store = await ports.tenants.store(DEFAULT_TENANT)
    return (await store.statistics()).rows.get("Basic", 0)


async def test_everything_parsed_is_stored_and_reported(ports):
    report = Counted()
    pipeline = Pipeline(
        await ports.tenants.store(DEFAULT_TENANT), (batch(n) for n in range(20)), report.take
    )
    await pipeline.run()
    assert not pipeline.stopped
    assert report.created == await stored(ports) == 20 * ROWS


async def test_batch_without_resources_is_reported_too(ports):
    report = Counted()
    empty = Parsed(resources=[], rejected=[], notices=[], conditional=0, unresolved=0, bytes_read=0)
    pipeline = Pipeline(
        await ports.tenants.store(DEFAULT_TENANT), (b for b in (empty, empty)), report.take
    )
    await pipeline.run()
    assert (report.created, report.batches) == (0, 2)


async def test_a_stopped_load_stores_what_it_reports_and_closes_its_files(ports):
    report = Counted()
    closed = False

    def endless() -> Iterator[Parsed]:
        nonlocal closed
        number = 0
        try:
            while True:
                yield batch(number)
                number += 1
                if number == 5:
                    trio.from_thread.run_sync(pipeline.stop)
        finally:
            closed = True

    pipeline = Pipeline(await ports.tenants.store(DEFAULT_TENANT), endless(), report.take)
    await pipeline.run()
    assert pipeline.stopped and pipeline.stopping and closed
    assert report.created == await stored(ports) == 5 * ROWS


async def test_an_error_of_the_store_ends_the_load_with_what_was_reported(ports):
    report = Counted()
    store = await ports.tenants.store(DEFAULT_TENANT)
    closed = False

    class FullAfter:
        """A store that has room for three batches."""

        async def ingest(self, resources):
            if report.batches == 3:
                raise StoreUnavailable("no room")
            return await store.ingest(resources)

    def endless() -> Iterator[Parsed]:
        nonlocal closed
        try:
            number = 0
            while True:
                yield batch(number)
                number += 1
        finally:
            closed = True

    with pytest.RaisesGroup(StoreUnavailable):
        await Pipeline(FullAfter(), endless(), report.take).run()
    assert closed
    assert report.created == await stored(ports) == 3 * ROWS


async def test_parsing_is_never_far_ahead_of_the_store():
    parsed = taken = ahead_max = 0

    class Slow:
        """A store that gives the parser every chance to run ahead."""

        async def ingest(self, resources):
            nonlocal taken, ahead_max
            for _ in range(20):
                await trio.to_thread.run_sync(lambda: None)
                ahead_max = max(ahead_max, parsed - taken)
            taken += 1
            return Ingested(0, 0, len(resources))

    def counting() -> Iterator[Parsed]:
        nonlocal parsed
        for number in range(60):
            parsed += 1
            yield batch(number)

    await Pipeline(Slow(), counting(), Counted().take).run()
    assert taken == 60
    # One is being stored, some wait, and one was parsed and found no room.
    assert 1 < ahead_max <= WAITING_MAX + 2
