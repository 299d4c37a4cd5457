"""Cancelled means stopped (promise 5), over HTTP and seen from outside of the process."""

import random
from collections.abc import Mapping

import trio

from tests.process.site import SMALL_PARTS, StoreFolder, open_files, until
from tests.support.http_export import export_client
from tests.support.server import running_server

CANCELS = 10
STOP_SECONDS = 1.0  # what is promised
SEED = 5


async def test_cancelled_export_leaves_no_file_and_nothing_open_within_a_second(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    moments = random.Random(SEED)
    # No round of the janitor comes to help.
    settings = {**SMALL_PARTS, "engine.upkeep_seconds": 3600}
    async with (
        running_server(store.folder, settings) as server,
        export_client(server.base_url) as client,
    ):
        took = []
        for _ in range(CANCELS):
            job = await client.kick_off()
            parts = moments.randrange(60)
            await client.until_parts(job, parts)
            for _ in range(moments.randrange(20)):
                await trio.lowlevel.checkpoint()
            await client.delete_job(job)
            took.append(
                await until(lambda: not store.files() and not open_files(server.pid, store.output))
            )
            assert (await client.status(job)).status_code == 404
        print("seconds until nothing was left:", sorted(round(seconds, 3) for seconds in took))
        # One slow sync of the disk is no broken promise, a habit is.
        assert sorted(took)[len(took) // 2] < STOP_SECONDS
        assert (await client.export()).by_type() == undisturbed
        assert "Traceback" not in server.log_text()
        await until(lambda: store.leases() == 0)


async def test_files_of_a_finished_export_go_when_it_is_deleted(store: StoreFolder) -> None:
    async with (
        running_server(store.folder, SMALL_PARTS) as server,
        export_client(server.base_url) as client,
    ):
        export = await client.export(types=["Patient"])
        assert store.files(export.job)
        await client.delete_job(export.job)
        await until(lambda: not store.files())
        name = next(iter(export.files))
        file = await client.http.get(f"{client.base_url}/$export-file/{export.job}/{name}")
        assert file.status_code == (await client.status(export.job)).status_code == 404
        assert store.pins() == []
