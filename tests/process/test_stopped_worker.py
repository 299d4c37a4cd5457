"""Fenced (promise 3): a server process that stood still for longer than its lease."""

import os
import signal
from collections.abc import Mapping

import pytest
import trio

from tests.process.site import SMALL_PARTS, StoreFolder, until
from tests.support.http_export import export_client
from tests.support.server import ServerProcess, running_server

SHORT_LEASES = {
    **SMALL_PARTS,
    "engine.lease_seconds": 3,
    "engine.lease_renew_seconds": 0.5,
    "engine.lease_margin_seconds": 0.5,
    "engine.poll_seconds": 0.5,
    "log_format": "json",
}


@pytest.mark.parametrize("wake", ["while the new owner works", "after the end"])
async def test_worker_that_stood_still_changes_nothing_when_it_goes_on(
    store: StoreFolder, undisturbed: Mapping[str, bytes], wake: str
) -> None:
    async with (
        running_server(store.folder, SHORT_LEASES) as zombie,
        export_client(zombie.base_url) as zombies,
    ):
        job = await zombies.begun(parts=10)
        await stop_before_a_record(zombie, store, job)
        recorded, files = store.parts(job), store.files(job)
        assert {part.token for part in recorded.values()} == {1}
        async with (
            running_server(store.folder, SHORT_LEASES) as heir,
            export_client(heir.base_url) as client,
        ):
            await until(lambda: len(store.parts(job)) > len(recorded))
            assert store.job(job).token == 2
            if wake == "after the end":
                await client.manifest(job)
            zombie.process.send_signal(signal.SIGCONT)
            await until(lambda: "lease lost" in zombie.log_text())
            export = await client.result(job)
            await until(lambda: not store.strays(job))
            # Alive again, it says what the store says.
            assert (await zombies.result(job)).files == export.files
            assert (await zombies.export()).by_type() == undisturbed
            assert "defect" not in zombie.log_text() + heir.log_text()

    assert export.by_type() == undisturbed
    row, parts, after = store.job(job), store.parts(job), store.files(job)
    assert (row.status, row.token, row.worker) == ("complete", 2, None)
    assert {number: parts[number] for number in recorded} == recorded
    assert {part.token for number, part in parts.items() if number not in recorded} == {2}
    assert {location: after[location] for location in recorded_files(recorded)} == {
        location: files[location] for location in recorded_files(recorded)
    }


def recorded_files(parts: Mapping[int, object]) -> list[str]:
    return [part.location for part in parts.values()]


async def stop_before_a_record(server: ServerProcess, store: StoreFolder, job: str) -> None:
    """SIGSTOP while a finished file waits to be recorded: it is the first thing that the
    process will try when it goes on, before it can know what became of its lease."""
    with store.held():  # also so that it does not stand still with the file's lock in its hand
        await until(lambda: any(name.endswith(".ndjson") for name in store.strays(job)))
        server.process.send_signal(signal.SIGSTOP)
        # Every thread stands still, also one that was in the kernel.
        await trio.to_thread.run_sync(os.waitid, os.P_PID, server.pid, os.WSTOPPED)
