"""Worker processes do what this process would, in the order of the files, and outlive no load."""

import os
import signal
from pathlib import Path

import apsw
import pytest
import trio

from engine.tenant import DEFAULT_TENANT
from tests.support.ports import memory_ports
from web.cli.loading.crew import ProcessHand, WorkerLost, open_crew
from web.cli.loading.cutting import Cut, Document, Lines, cut
from web.cli.loading.parsing import Rules
from web.cli.loading.pipeline import Pipeline
from web.cli.loading.sources import find_sources
from web.compose import compose
from web.settings import load_settings

RULES = Rules(resource_bytes_max=100_000, structure=True)
LIMIT_SECONDS = 60


class Told:
    """All that a load reports, in order."""

    def __init__(self) -> None:
        self.created = self.updated = 0
        self.lines: list[int | None] = []
        self.errors: list[str] = []

    def take(self, batch, done) -> None:
        self.created += done.created
        self.updated += done.updated
        self.lines += [one.line for one in batch.rejected]
        self.errors += [one.error for one in batch.rejected]


def patient(id: str, members: str = "") -> bytes:
    return b'{"resourceType":"Patient","id":"%b"%b}' % (id.encode(), members.encode())


def observation(number: int) -> bytes:
    return (
        b'{"resourceType":"Observation","id":"o%d","status":"final","code":{"coding":[{"system":'
        b'"http://loinc.org","code":"c%d"}]},"subject":{"reference":"Patient/%d"},'
        b'"valueQuantity":{"value":%d,"unit":"kg"}}' % (number, number % 7, number, number)
    )


def data(folder: Path) -> Path:
    """Several pieces, with all that can be wrong in the middle of them."""
    folder.mkdir()
    lines = [patient(str(n), ',"birthDate":"1970-01-01"') for n in range(6_000)]
    lines[10] = patient("3")  # repeats a line of its own piece
    lines[5_000] = patient("4")  # and one of another
    lines[2_000] = b"{"
    lines[3_000] = patient("x", ',"gender":"unsure"')
    (folder / "a.ndjson").write_bytes(b"\n".join(lines))
    (folder / "b.ndjson").write_bytes(b"\n".join(map(observation, range(8_000))))
    (folder / "c.ndjson").write_bytes(patient("5", ',"active":true'))  # another version
    return folder


async def load(store_folder: Path, data: Path, workers: int) -> Told:
    told = Told()
    settings = load_settings(environ={"PENSTOCK_STORE": f"sqlite:{store_folder}"})
    with trio.fail_after(LIMIT_SECONDS):
        async with compose(settings) as ports:
            store = await ports.tenants.store(DEFAULT_TENANT)
            async with open_crew(workers, RULES, await store.packer()) as crew:
                cuts = cut(find_sources([data]), line_bytes_max=RULES.resource_bytes_max)
                await Pipeline(store, cuts, RULES, crew, told.take).run()
    return told


def rows(store_folder: Path) -> dict[str, list[tuple]]:
    """Bodies' sizes and index of the only tenant. Hashes have the store's own key, so rows are
    counted by what they hash where that is so."""
    (path,) = (store_folder / "tenants").glob("*.db")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    named = {
        "version": "SELECT rid, id, ver, prev, length(body) FROM version ORDER BY rid",
        "live": "SELECT res, rid, defs FROM live ORDER BY res",
        "tok": "SELECT p, system, code, res FROM tok JOIN term USING (k) ORDER BY 1, 2, 3, 4",
        "ref": "SELECT p, v.res, r.res FROM ref r JOIN live v ON v.tkey = target ORDER BY 1, 2, 3",
        "fwd": "SELECT f.res, p, v.res FROM fwd f JOIN live v ON v.tkey = target ORDER BY 1, 2, 3",
        "dat": "SELECT * FROM dat ORDER BY 1, 2, 3, 4",
        "qty": "SELECT unit, value, res FROM qty JOIN unit USING (u) ORDER BY 1, 2, 3",
    }
    return {table: connection.execute(sql).fetchall() for table, sql in named.items()}


async def test_with_workers_and_without_a_load_makes_the_same_store(tmp_path):
    folder = data(tmp_path / "data")
    told = [await load(tmp_path / f"store{count}", folder, count) for count in (0, 2)]
    for one in told:
        assert (one.created, one.updated) == (5_996 + 8_000, 1)
        assert one.lines == [11, 2_001, 3_001, 5_001]
        assert "Patient.gender" in one.errors[2]
        assert "unsure" not in one.errors[2]
    assert told[0].errors == told[1].errors
    without, with_workers = rows(tmp_path / "store0"), rows(tmp_path / "store2")
    for table, there in without.items():
        assert there
        assert there == with_workers[table], table


async def packer():
    async with memory_ports() as ports:
        await ports.tenants.ensure(DEFAULT_TENANT)
        return await (await ports.tenants.store(DEFAULT_TENANT)).packer()


async def take_for_ever(hand) -> None:
    while True:
        await hand.take()


def is_there(process: trio.Process) -> bool:
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_that_dies_ends_the_load_with_a_clear_error(tmp_path):
    async with open_crew(2, RULES, await packer()) as crew:
        first, second = crew
        assert isinstance(first, ProcessHand) and isinstance(second, ProcessHand)
        piece = Cut(pieces=[Lines(0, "x.ndjson", 1, patient("a"))])
        for hand in crew:
            await hand.give(piece)
        assert (await first.take()).rows == 1
        await first.give(piece)
        await first.take()
        second.process.send_signal(signal.SIGKILL)
        await second.process.wait()
        await second.give(piece)  # is noticed by who takes
        with trio.fail_after(LIMIT_SECONDS), pytest.raises(WorkerLost, match="status -9"):
            await take_for_ever(second)
    assert not is_there(first.process)


async def test_no_worker_outlives_a_load_that_is_cancelled(tmp_path):
    with trio.CancelScope() as scope:
        async with open_crew(2, RULES, await packer()) as crew:
            scope.cancel()
            await crew[0].take()
    assert scope.cancelled_caught
    for hand in crew:
        assert isinstance(hand, ProcessHand)
        assert not is_there(hand.process)


async def test_a_worker_ignores_the_interrupt_of_a_terminal(tmp_path):
    async with open_crew(1, RULES, await packer()) as (hand,):
        assert isinstance(hand, ProcessHand)
        piece = Cut(pieces=[Lines(0, "x.ndjson", 1, patient("a"))])
        await hand.give(piece)
        await hand.take()  # it has begun
        hand.process.send_signal(signal.SIGINT)
        await hand.give(piece)
        assert (await hand.take()).rows == 1
        assert os.getsid(hand.process.pid) != os.getsid(0)


async def test_a_document_comes_in_many_batches_and_in_order(tmp_path):
    entries = b",".join(b'{"resource":%b}' % patient(str(n)) for n in range(12_000))
    text = b'{"resourceType":"Bundle","type":"collection","entry":[%b]}' % entries
    async with open_crew(1, RULES, await packer()) as (hand,):
        batches = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand.give, Cut(pieces=[Document("x.json", text)]))
            while not batches or not batches[-1].last:
                batches.append(await hand.take())
    assert sum(batch.rows for batch in batches) == 12_000
    assert max(batch.rows for batch in batches) <= 5_000
