"""Gapless (promise 2): a chain of `_since` exports over HTTP, while others write."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.http_export import WAIT_SECONDS_MAX, ExportClient, Line, export_client
from tests.support.server import command, environment, running_server

ROUNDS = 10
WRITERS = 3
IDS = 25  # few, so that writers meet at the same resource
LOADED = 150
KICK_OFFS = 12
WRITES_AT_ONCE = 6
TYPES = ("Basic", "Observation", "Patient")
SETTINGS = {
    "min_job_age_seconds": 0,
    "polls_per_second": 1000,
    "polls_burst": 1000,
    # The chain finds its jobs done by whichever of the two servers was faster.
    "engine.poll_seconds": 0.2,
}


class Copy:
    """What a client has of a store: the newest line of each resource that it was given."""

    def __init__(self) -> None:
        self.since = ""
        self.lines: dict[str, Line] = {}
        self.given: Counter[tuple[str, int]] = Counter()  # by resource and version

    async def extend(self, client: ExportClient) -> None:
        """The next export of the chain."""
        since = {"since": self.since} if self.since else {}
        export = await client.export(**since)
        for line in export.lines():
            assert self.since < line.updated <= export.transaction_time
            assert self.lines[line.name].version < line.version if line.name in self.lines else True
            self.lines[line.name] = line
            self.given[line.name, line.version] += 1
        self.since = export.transaction_time


class Writer:
    """Creates, updates, deletes and creates again, one change after the other."""

    def __init__(self, client: ExportClient, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self.written: set[str] = set()
        self.deletions = 0

    async def run(self, done: trio.Event) -> None:
        while not done.is_set():
            await self._change()

    async def _change(self) -> None:
        type, id = self._random.choice(TYPES), f"r{self._random.randrange(IDS)}"
        resource = {"resourceType": type, "id": id, "text": {"div": str(self._random.random())}}
        match self._random.choices(("put", "delete", "create"), (6, 3, 1))[0]:
            case "put":
                await self._client.put(resource)
                self.written.add(f"{type}/{id}")
            case "delete":
                await self._client.delete(f"{type}/{id}")
                self.deletions += 1
            case _:
                answer = await self._client.create(resource)
                self.written.add(f"{type}/{answer.json()['id']}")


async def load(store: Path, file: Path, round: int) -> set[str]:
    """Changed copies of the same resources, by the command, in a process of its own."""
    names = [f"l{n}" for n in range(round % 3, LOADED)]
    resources = [{"resourceType": "Basic", "id": id, "code": {"text": str(round)}} for id in names]
    file.write_text("".join(json.dumps(resource) + "\n" for resource in resources))
    with trio.fail_after(WAIT_SECONDS_MAX):
        await trio.run_process(
            command("load", str(file)),
            env=environment({"store": f"sqlite:{store}"}),
            capture_stdout=True,
            capture_stderr=True,
        )
    return {f"Basic/{id}" for id in names}


@asynccontextmanager
async def two_servers(store: Path) -> AsyncIterator[tuple[ExportClient, ExportClient]]:
    async with (
        running_server(store, SETTINGS) as first,
        running_server(store, SETTINGS) as second,
        export_client(first.base_url) as one,
        export_client(second.base_url) as other,
    ):
        yield one, other


@pytest.mark.parametrize("seed", [1, 2])
async def test_chain_of_exports_reproduces_the_store_while_two_servers_and_a_load_write(
    tmp_path: Path, seed: int
) -> None:
    store, copy = tmp_path / "store", Copy()
    async with two_servers(store) as clients:
        writers = [Writer(clients[n % 2], 10 * seed + n) for n in range(WRITERS)]
        loaded: set[str] = set()
        done = trio.Event()
        async with trio.open_nursery() as writing:
            for writer in writers:
                writing.start_soon(writer.run, done)
            for round in range(ROUNDS):
                if round % 4 == seed % 4:
                    async with trio.open_nursery() as both:
                        both.start_soon(copy.extend, clients[0])
                        loaded |= await load(store, tmp_path / "load.ndjson", round)
                await copy.extend(clients[round % 2])
            done.set()
        await copy.extend(clients[0])
        names = loaded.union(*(writer.written for writer in writers))
        truth = await live(clients[1], names)
        full = await clients[0].export()

    assert max(copy.given.values()) == 1
    assert {line.name: line.bytes for line in full.lines()} == truth
    # Of what was deleted the client does not hear, so it keeps what it had.
    assert {name: line.bytes for name, line in copy.lines.items() if name in truth} == truth
    assert set(copy.lines) <= names
    assert sum(writer.deletions for writer in writers) > 0
    # It was a chain of many links, not one export and then silence.
    assert len(copy.given) > len(truth)


async def live(client: ExportClient, names: set[str]) -> dict[str, bytes]:
    """The resources that are there, each read on its own."""
    found = {}
    for name in names:
        answer = await client.read(name)
        assert answer.status_code in (200, 410)
        if answer.status_code == 200:
            found[name] = answer.content
    return found


async def test_every_write_is_before_or_after_a_kick_off_made_at_the_same_moment(
    tmp_path: Path,
) -> None:
    """Kick-offs and writes at once, by way of two servers: each write is in the export, or in
    the next one of the chain, and never in both. Many share a millisecond, and a commit."""
    async with two_servers(tmp_path / "store") as clients:
        jobs: list[str] = []
        for n in range(KICK_OFFS):
            async with trio.open_nursery() as at_once:
                at_once.start_soon(kick_off, clients[n % 2], jobs)
                for k in range(WRITES_AT_ONCE):
                    at_once.start_soon(clients[k % 2].put, numbered(WRITES_AT_ONCE * n + k))
        written = {f"n{number}" for number in range(KICK_OFFS * WRITES_AT_ONCE)}
        shown = 0
        for job in jobs:
            export = await clients[0].result(job)
            later = await clients[1].export(since=export.transaction_time)
            before, after = ids(export.lines()), ids(later.lines())
            assert before | after == written
            assert before & after == set()
            assert all(line.updated <= export.transaction_time for line in export.lines())
            assert len(before) >= shown  # never back in time
            shown = len(before)


async def kick_off(client: ExportClient, jobs: list[str]) -> None:
    jobs.append(await client.kick_off())


def numbered(n: int) -> dict[str, Any]:
    return {"resourceType": "Basic", "id": f"n{n}", "code": {"text": str(n)}}


def ids(lines: list[Line]) -> set[str]:
    return {line.id for line in lines}
