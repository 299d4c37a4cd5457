"""Cutting, parsing and storing side by side: what is reported is what is in the store."""

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from backends.clock import SystemStoreClock
from engine.errors import StoreUnavailable
from engine.model import Ingested
from engine.ports import Ports
from engine.tenant import DEFAULT_TENANT
from tests.support.ports import memory_ports, memory_world, sqlite_ports
from web.cli.loading.crew import ThreadHand
from web.cli.loading.cutting import Cut, Lines
from web.cli.loading.parsing import Rules
from web.cli.loading.pipeline import WAITING_MAX, Pipeline
from web.cli.loading.worker import Batch

ROWS = 10
RULES = Rules(resource_bytes_max=1_000)


@pytest.fixture(params=["memory", "sqlite"])
async def ports(request, tmp_path) -> AsyncIterator[Ports]:
    clock = SystemStoreClock()  # batches are parsed in a real thread
    memory = memory_ports(memory_world(clock=clock))
    async with (
        memory if request.param == "memory" else sqlite_ports(tmp_path, store_clock=clock) as ports
    ):
        await ports.tenants.ensure(DEFAULT_TENANT)
        yield ports


def piece(number: int) -> Cut:
    """Some resources that no other piece has."""
    lines = [b'{"resourceType":"Basic","id":"%d-%d"}' % (number, n) for n in range(ROWS)]
    return Cut(pieces=[Lines(0, "x.ndjson", number * ROWS + 1, b"\n".join(lines))])


async def pipeline_of(store, cuts: Iterator[Cut], report) -> Pipeline:
    """A load by one hand in a thread."""
    return Pipeline(store, cuts, RULES, [ThreadHand(RULES, await store.packer())], report.take)


class Counted:
    """A report that adds up."""

    def __init__(self) -> None:
        self.created = 0
        self.batches = 0

    def take(self, batch: Batch, done: Ingested) -> None:
        self.created += done.created
        self.batches += 1


async def stored(ports: Ports) -> int:
    store = await ports.tenants.store(DEFAULT_TENANT)
    return (await store.statistics()).rows.get("Basic", 0)


async def test_everything_parsed_is_stored_and_reported(ports):
    report = Counted()
    store = await ports.tenants.store(DEFAULT_TENANT)
    pipeline = await pipeline_of(store, (piece(n) for n in range(20)), report)
    await pipeline.run()
    assert not pipeline.stopped
    assert report.created == await stored(ports) == 20 * ROWS


async def test_batch_without_resources_is_reported_too(ports):
    report = Counted()
    store = await ports.tenants.store(DEFAULT_TENANT)
    pipeline = await pipeline_of(store, (Cut() for _ in range(2)), report)
    await pipeline.run()
    assert (report.created, report.batches) == (0, 2)


async def test_a_stopped_load_stores_what_it_reports_and_closes_its_files(ports):
    report = Counted()
    closed = False

    def endless() -> Iterator[Cut]:
        nonlocal closed
        number = 0
        try:
            while True:
                yield piece(number)
                number += 1
                if number == 5:
                    trio.from_thread.run_sync(lambda: pipeline.stop())
        finally:
            closed = True

    pipeline = await pipeline_of(await ports.tenants.store(DEFAULT_TENANT), endless(), report)
    await pipeline.run()
    assert pipeline.stopped and pipeline.stopping and closed
    # The piece that was being cut is stored too.
    assert report.created == await stored(ports) == 6 * ROWS


async def test_an_error_of_the_store_ends_the_load_with_what_was_reported(ports):
    report = Counted()
    store = await ports.tenants.store(DEFAULT_TENANT)
    closed = False

    class FullAfter:
        """A store that has room for three batches."""

        async def packer(self):
            return await store.packer()

        async def ingest_packed(self, batches):
            if report.batches >= 3:
                raise StoreUnavailable("no room")
            return await store.ingest_packed(batches)

    def endless() -> Iterator[Cut]:
        nonlocal closed
        try:
            number = 0
            while True:
                yield piece(number)
                number += 1
        finally:
            closed = True

    with pytest.RaisesGroup(StoreUnavailable):
        await (await pipeline_of(FullAfter(), endless(), report)).run()
    assert closed
    assert report.created == await stored(ports) == report.batches * ROWS


async def test_parsing_is_never_far_ahead_of_the_store():
    parsed = taken = ahead_max = 0

    class Packs:
        def pack(self, resources):
            return b"packed"

    class Slow:
        """A store that gives the others every chance to run ahead."""

        async def packer(self):
            return Packs()

        async def ingest_packed(self, batches):
            nonlocal taken, ahead_max
            for _ in range(20):
                await trio.to_thread.run_sync(lambda: None)
                ahead_max = max(ahead_max, parsed - taken)
            taken += len(batches)
            return Ingested(0, 0, ROWS * len(batches))

    def counting() -> Iterator[Cut]:
        nonlocal parsed
        for number in range(60):
            parsed += 1
            yield piece(number)

    await (await pipeline_of(Slow(), counting(), Counted())).run()
    assert taken == 60
    # Some are being stored, some wait, some are cut and one was cut and found no room.
    assert 1 < ahead_max <= 2 * WAITING_MAX + 6
