"""Reindexing and pruning by real processes: killed, two at once, beside a server."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from tests.process.conftest import LOAD_SECONDS_MAX, SAMPLE
from tests.process.site import SMALL_PARTS, StoreFolder, reading, until
from tests.support.http_export import WAIT_SECONDS_MAX, export_client, pause
from tests.support.server import command, environment, running_server
from tests.upkeep.conftest import index_of
from tests.upkeep.test_worker import SHOE

CHANGED = 6  # resources that are written while an export of them is open
TYPES = ("Condition", "Encounter", "Immunization", "Observation", "Patient", "Procedure")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose reindex takes a good many steps."""
    folder = tmp_path_factory.mktemp("template")
    subprocess.run(
        command("load", *(str(SAMPLE / f"{type}.ndjson.gz") for type in TYPES)),
        env=environment({"store": f"sqlite:{folder}"}),
        check=True,
        capture_output=True,
        timeout=LOAD_SECONDS_MAX,
    )
    return folder


@pytest.fixture(scope="module")
def undisturbed(template: Path) -> dict[str, list[Any]]:
    """The index as the load has made it."""
    return index_of(StoreFolder(template).tenant_file("default"))


@pytest.fixture
def store(template: Path, tmp_path: Path) -> StoreFolder:
    folder = tmp_path / "store"
    shutil.copytree(template, folder)
    return StoreFolder(folder)


class Command:
    """A running command, and what it has said so far."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.out, self.err = b"", b""

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        with trio.fail_after(WAIT_SECONDS_MAX):
            return await self.process.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    async def read(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, "out", self.process.stdout)
            nursery.start_soon(self._read, "err", self.process.stderr)

    async def _read(self, name: str, pipe: trio.abc.ReceiveStream) -> None:
        async for data in pipe:
            setattr(self, name, getattr(self, name) + data)


@asynccontextmanager
async def running(store: StoreFolder, *arguments: str) -> AsyncIterator[Command]:
    """Start a command, and see that it has ended after the block and all it said is read."""
    process = await trio.lowlevel.open_process(
        command(*arguments),
        env=environment({"store": f"sqlite:{store.folder}"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    started = Command(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(started.read)
        try:
            yield started
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + WAIT_SECONDS_MAX):
                await process.wait()


async def run(store: StoreFolder, *arguments: str) -> dict[str, Any]:
    """A command to its end, which must be a good one; what it says in JSON."""
    async with running(store, *arguments, "--json") as started:
        assert await started.wait() == 0, started.err
    return started.result


@contextmanager
def no_writes(store: StoreFolder) -> Iterator[None]:
    """Inside the block nobody can write to the tenant's file."""
    with reading(store.tenant_file("default")) as tenant:
        tenant.execute("BEGIN IMMEDIATE")
        yield
        tenant.execute("ROLLBACK")


def facts(store: StoreFolder) -> tuple[int, int]:
    """How far a reindex is, 0 if it is not begun or done; and what the index is complete for."""
    with reading(store.tenant_file("default")) as tenant:
        cursor = tenant.execute("SELECT coalesce(max(cursor), 0) FROM fence").get
        return cursor, tenant.execute("SELECT indexed FROM meta").get


def holder(store: StoreFolder) -> tuple[str, str | None, int]:
    """Of the newest work: status, worker and token; before there is one, an empty status."""
    with reading(store.folder / "control.db") as control:
        query = "SELECT status, worker, token FROM store_work ORDER BY num DESC LIMIT 1"
        return control.execute(query).get or ("", None, 0)


async def in_the_middle(store: StoreFolder, started: Command, signal_number: int) -> int:
    """Send a signal to a reindex that has done some of its work, and not all; how far it is."""
    await until(lambda: facts(store)[0] > 0)
    with no_writes(store):
        cursor, indexed = facts(store)
        assert cursor > 0, "it was done before it could be disturbed"
        assert indexed == 0
        os.kill(started.process.pid, signal_number)
        if signal_number == signal.SIGKILL:
            await started.wait()
    return cursor


async def kill_in_the_middle(store: StoreFolder, *arguments: str) -> None:
    async with running(store, *arguments) as doomed:
        cursor = await in_the_middle(store, doomed, signal.SIGKILL)
    assert facts(store)[0] == cursor


async def test_killed_reindex_goes_on_where_it_was(
    store: StoreFolder, undisturbed: dict[str, list[Any]]
):
    await kill_in_the_middle(store, "reindex", "--rebuild")
    done_before = len(index_of(store.tenant_file("default"))["live"])
    assert 0 < done_before < len(undisturbed["live"])
    status, _, token = holder(store)
    assert (status, token) == ("in-progress", 1)

    result = await run(store, "reindex")
    assert result["indexed"] <= len(undisturbed["live"])
    assert holder(store) == ("complete", None, 2)
    assert facts(store) == (0, 2)
    found = index_of(store.tenant_file("default"))
    assert found == undisturbed
    with reading(store.tenant_file("default")) as tenant:
        # What was indexed before the kill was not begun anew: the generation would be another.
        assert tenant.execute("SELECT DISTINCT defs FROM live").fetchall() == [(2,)]


async def test_a_server_goes_on_with_what_a_killed_command_left(
    store: StoreFolder, undisturbed: dict[str, list[Any]]
):
    await kill_in_the_middle(store, "reindex", "--rebuild")
    async with running_server(store.folder) as server, httpx.AsyncClient() as client:
        await until(lambda: holder(store)[0] == "complete")
        answer = await client.get(f"{server.base_url}/Patient?_summary=count")
    assert answer.status_code == 200
    assert answer.json()["total"] > 50
    assert index_of(store.tenant_file("default")) == undisturbed


async def test_of_two_at_once_the_second_names_the_first_and_waits(store: StoreFolder):
    async with running(store, "reindex", "--rebuild", "--json") as first:
        await in_the_middle(store, first, signal.SIGSTOP)
        worker = str(holder(store)[1])
        async with running(store, "reindex", "--json") as second:
            await until(lambda: worker.encode() in second.err)
            first.process.send_signal(signal.SIGCONT)
            assert (await first.wait(), await second.wait()) == (0, 0)
    assert first.result == second.result
    assert first.result["indexed"] > 1000
    assert holder(store) == ("complete", None, 1)


async def test_if_the_first_is_killed_the_second_goes_on_at_once(
    store: StoreFolder, undisturbed: dict[str, list[Any]]
):
    async with running(store, "reindex", "--rebuild") as first:
        await in_the_middle(store, first, signal.SIGSTOP)
        worker = str(holder(store)[1])
        async with running(store, "reindex", "--json") as second:
            await until(lambda: worker.encode() in second.err)
            await first.kill()
            await until(lambda: holder(store)[2] == 2)  # long before the lease has expired
            assert await second.wait() == 0, second.err
    assert holder(store) == ("complete", None, 2)
    assert index_of(store.tenant_file("default")) == undisturbed


async def test_an_interrupted_reindex_is_free_for_the_next(
    store: StoreFolder, undisturbed: dict[str, list[Any]]
):
    async with running(store, "reindex", "--rebuild") as started:
        await in_the_middle(store, started, signal.SIGINT)
        assert await started.wait() == 130
    assert holder(store) == ("in-progress", None, 1)
    await run(store, "reindex")
    assert index_of(store.tenant_file("default")) == undisturbed


async def test_a_parameter_posted_to_a_server_is_searchable_once_it_says_so(store: StoreFolder):
    settings = {"engine.upkeep_seconds": 0.2}
    async with running_server(store.folder, settings) as server, httpx.AsyncClient() as client:
        url = server.base_url
        birth = {**SHOE, "code": "place", "expression": "Patient.maritalStatus.text"}
        assert (await client.put(f"{url}/SearchParameter/shoe", json=birth)).status_code == 201
        everybody = await client.get(f"{url}/Patient?_summary=count")
        assert everybody.status_code == 200, "other parameters are answered meanwhile"
        refusals, answer = [], await client.get(f"{url}/Patient?place=never&_summary=count")
        with trio.fail_after(WAIT_SECONDS_MAX):
            while answer.status_code != 200:
                refusals.append(answer)
                await pause()
                answer = await client.get(f"{url}/Patient?place:missing=false&_summary=count")
        found = (await client.get(f"{url}/Patient?place:missing=false&_summary=count")).json()
        everybody = await client.get(f"{url}/Patient?_summary=count")
    assert found["total"] > 10
    assert found["total"] <= everybody.json()["total"]
    for refusal in refusals:
        assert refusal.status_code == 503
        assert "'place'" in refusal.json()["issue"][0]["diagnostics"]


async def test_an_export_that_is_open_while_history_is_pruned_is_the_same_byte_for_byte(
    store: StoreFolder,
):
    async with (
        running_server(store.folder, SMALL_PARTS) as server,
        export_client(server.base_url) as client,
    ):
        before = await client.export()
        await client.delete_job(before.job)
        changed = [line for line in before.lines() if line.type == "Procedure"][-CHANGED:]
        job = await client.begun(parts=1)
        for line in changed[1:]:
            await client.put(msgspec.json.decode(line.bytes) | {"status": "stopped"})
        await client.delete(changed[0].name)
        await server.kill()
    assert store.job(job).status == "in-progress"
    assert store.pins() == [job]
    assert (await run(store, "history", "prune", "--keep", "1"))["removed"] == 0

    async with (
        running_server(store.folder, SMALL_PARTS) as server,
        export_client(server.base_url) as client,
    ):
        after = await client.result(job)
        await until(lambda: store.pins() == [])
        result = await run(store, "history", "prune", "--keep", "1")
        current = await client.read(changed[1].name)
    assert after.by_type() == before.by_type()
    assert result["removed"] == CHANGED
    assert current.json()["status"] == "stopped"


async def test_pruning_counts_first_and_then_removes_what_is_old_enough(store: StoreFolder):
    async with running_server(store.folder) as server, export_client(server.base_url) as client:
        for number in range(4):
            await client.put({"resourceType": "Patient", "id": "old", "active": number % 2 == 0})
        assert (await run(store, "history", "prune", "--older-than", "1d"))["removed"] == 0
        counted = await run(store, "history", "prune", "--keep", "2", "--dry-run")
        assert (await client.read("Patient/old/_history/1")).status_code == 200
        removed = await run(store, "history", "prune", "--keep", "2")
        versions = [
            (await client.read(f"Patient/old/_history/{number}")).status_code
            for number in (1, 2, 3, 4)
        ]
    assert counted["removed"] == removed["removed"] == 2
    assert (counted["dryRun"], removed["dryRun"]) == (True, False)
    assert versions == [404, 404, 200, 200]
