"""A worker that died is known to be dead at once, whatever its lease says."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
import trio

import backends
from engine.errors import SettingInvalid
from engine.model import WorkerId
from tests.support.exports import ACME, claim, start, start_and_claim

FOREVER_SECONDS = 1e6  # nobody waits for such a lease to expire

# Opens the directory as `doomed`, claims the job, starts a child, and says so.
DOOMED = """
import subprocess, sys, trio, backends
from engine.model import WorkerId

async def main():
    async with backends.open(f"sqlite:{sys.argv[1]}", worker=WorkerId("doomed")) as backend:
        lease = await backend.export_leases.claim(WorkerId("doomed"), 1e6)
        child = subprocess.Popen(["cat"], stdin=int(sys.argv[2]), close_fds=False)
        print(lease.token, child.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def doomed_worker(folder: Path) -> AsyncIterator[trio.Process]:
    """Another process that holds the lease, and has a child that outlives it."""
    read_end, write_end = os.pipe()  # the child ends when this test closes it
    command = [sys.executable, "-c", DOOMED, str(folder), str(read_end)]
    try:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                lambda task_status: trio.run_process(
                    command,
                    stdout=PIPE,
                    pass_fds=[read_end],
                    check=False,
                    cwd=Path(__file__).parents[2],
                    task_status=task_status,
                )
            )
            assert process.stdout is not None
            said = b""
            while not said.endswith(b"\n"):
                piece = await process.stdout.receive_some()
                assert piece, "it ended before it had claimed"
                said += piece
            assert said.startswith(b"1 ")
            yield process
            process.kill()
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_lease_of_a_killed_worker_is_taken_at_once(tmp_path: Path) -> None:
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")) as backend:
        await start(backend)
        async with doomed_worker(tmp_path) as process:
            assert await backend.export_leases.claim(WorkerId("w1"), 60) is None
            process.send_signal(signal.SIGKILL)
            await process.wait()
            lease = await claim(backend)
    assert (lease.token, lease.attempt) == (2, 2)


async def test_files_of_a_cancelled_job_may_go_once_its_worker_is_killed(tmp_path: Path) -> None:
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")) as backend:
        job = await start(backend)
        async with doomed_worker(tmp_path) as process:
            await backend.export_jobs.cancel(ACME, job.id)
            assert await backend.export_upkeep.removable() == []
            process.send_signal(signal.SIGKILL)
            await process.wait()
            removable = await backend.export_upkeep.removable()
    assert [found.id for found in removable] == [job.id]


async def test_start_after_a_kill_frees_leases_and_removes_the_dead_workers_file(
    tmp_path: Path,
) -> None:
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")) as backend:
        await start(backend)
    async with doomed_worker(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w2")) as backend:
        assert [path.name for path in (tmp_path / "workers").iterdir()] == ["w2.lock"]
        assert (await claim(backend, "w2")).token == 2


async def test_worker_that_closes_leaves_its_leases_to_others(tmp_path: Path) -> None:
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")) as first:
        async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w2")) as second:
            await start(second)
            assert await second.export_leases.claim(WorkerId("w2"), FOREVER_SECONDS)
            assert await first.export_leases.claim(WorkerId("w1"), 60) is None
        assert (await claim(first)).token == 2


async def test_successor_under_the_same_id_takes_its_predecessors_leases(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}"
    async with backends.open(url, worker=WorkerId("w1")) as backend:
        await start_and_claim(backend)
    async with backends.open(url, worker=WorkerId("w1")) as backend:
        assert (await claim(backend)).token == 2


async def test_two_processes_cannot_live_under_one_worker_id(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}"
    async with backends.open(url, worker=WorkerId("w1")):
        with pytest.raises(SettingInvalid, match="another process runs as 'w1'"):
            async with backends.open(url, worker=WorkerId("w1")):
                pass


async def test_own_lease_is_not_taken_for_a_dead_workers(tmp_path: Path) -> None:
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")) as backend:
        lease = await start_and_claim(backend)
        assert await backend.export_leases.claim(WorkerId("w1"), 60) is None
        await backend.export_leases.heartbeat(lease)


@pytest.mark.parametrize("worker", ["", "../w1", "a/b", ".w", "x" * 200])
async def test_worker_id_that_cannot_name_a_file_is_refused(tmp_path: Path, worker: str) -> None:
    with pytest.raises(SettingInvalid, match="worker"):
        async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId(worker)):
            pass
