"""Bounded (promise 6): after many exports a server has what it had before."""

import random
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from tests.process.site import SMALL_PARTS, StoreFolder, descriptors, open_files, threads, until
from tests.support.http_export import ExportClient, export_client
from tests.support.server import ServerProcess, running_server

AT_ONCE = 4
EXPORTS = CANCELS = 20
THREADS_SLACK = 4  # a thread that waits for work is kept for some seconds
CLOSE_SECONDS_MAX = 10  # an idle connection is kept for longer
DESCRIPTORS_SLACK = 3  # a connection to control.db that is used seldom opens its WAL late
STORE_DESCRIPTORS_MAX = 40  # connections of a pool that fills as it is needed, each with its WAL


async def test_exports_and_cancels_leave_no_thread_no_descriptor_no_file_and_no_lease(
    store: StoreFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    settings = {**SMALL_PARTS, "engine.jobs_at_once": AT_ONCE}
    async with running_server(store.folder, settings) as server:
        logs = set(temporary.iterdir())
        idle = sockets(server)
        await work(server, exports=2 * AT_ONCE, cancels=AT_ONCE)  # fills pools and caches
        before = await at_rest(server, store, idle)
        await work(server, exports=EXPORTS, cancels=CANCELS)
        after = await at_rest(server, store, idle)
        print(f"threads, descriptors, those of the store: {before} before, {after} after")
        assert after.threads <= before.threads + THREADS_SLACK
        assert after.descriptors <= before.descriptors + DESCRIPTORS_SLACK
        assert after.of_the_store <= STORE_DESCRIPTORS_MAX
        assert open_files(server.pid, store.output) == []
        assert store.files() == {}
        assert set(temporary.iterdir()) == logs
        assert "Traceback" not in server.log_text()


async def test_server_lets_go_of_a_client_that_left(tmp_path: Path) -> None:
    async with running_server(tmp_path / "store") as server:
        idle = sockets(server)
        async with export_client(server.base_url) as client:
            assert (await client.http.get(f"{server.root_url}/healthz")).status_code == 200
            assert sockets(server) == idle + 1
        await until(lambda: sockets(server) == idle, CLOSE_SECONDS_MAX)


async def work(server: ServerProcess, *, exports: int, cancels: int) -> None:
    """Exports that are read and deleted, and some that are cancelled while they run."""
    tasks = ["export"] * exports + ["cancel"] * cancels
    order = random.Random(exports)
    order.shuffle(tasks)
    async with export_client(server.base_url) as client, trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(take, client, tasks, order)


async def take(client: ExportClient, tasks: list[str], order: random.Random) -> None:
    while tasks:
        if tasks.pop() == "export":
            export = await client.export(types=["Patient", "Immunization"])
            assert len(export.lines()) > 1000
            await client.delete_job(export.job)
        else:
            job = await client.kick_off()
            await client.until_parts(job, order.randrange(6))
            await client.delete_job(job)


class Held(NamedTuple):
    """What a server has."""

    threads: int
    descriptors: int  # but for those of the tenant's file
    of_the_store: int


async def at_rest(server: ServerProcess, store: StoreFolder, idle: int) -> Held:
    """What it has once nothing runs and nobody is connected."""
    await until(lambda: not (store.files() or store.pins() or store.leases()))
    await until(lambda: not open_files(server.pid, store.output))
    await until(lambda: sockets(server) <= idle, CLOSE_SECONDS_MAX)
    of_the_store = len(open_files(server.pid, store.folder / "tenants"))
    everything = len(descriptors(server.pid))
    return Held(threads(server.pid), everything - of_the_store, of_the_store)


def sockets(server: ServerProcess) -> int:
    return sum(name.startswith("socket:") for name in descriptors(server.pid))
