"""A server that is asked to stop: what runs is released, what is being downloaded is whole or
visibly cut."""

import hashlib
import json
import signal
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import trio

from tests.process.site import SMALL_PARTS, StoreFolder
from tests.support.http_export import WAIT_SECONDS_MAX, ExportClient, export_client, pause
from tests.support.server import ServerProcess, command, environment, running_server

EXIT_SECONDS_MAX = 2.0  # beyond the drain, which is 0 here
LONG_LINE_BYTES = 3 << 20
LONG_LINES = 8  # far more than the buffers of a connection hold


async def until_not_ready(server: ServerProcess, client: ExportClient) -> None:
    """It says so while it still listens."""
    with trio.fail_after(WAIT_SECONDS_MAX):
        while (answer := await client.http.get(f"{server.root_url}/readyz")).status_code == 200:
            await pause()
    assert answer.status_code == 503


async def test_stop_releases_the_running_export_in_time_and_costs_no_attempt(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    settings = {**SMALL_PARTS, "engine.lanes_per_job": 1, "engine.drain_seconds": 0}
    async with (
        running_server(store.folder, settings) as server,
        export_client(server.base_url) as client,
    ):
        job = await client.begun(parts=5)
        with store.held():  # so that no part is recorded, and the job cannot end first
            server.terminate()
            await until_not_ready(server, client)
        began = trio.current_time()
        assert await server.wait() == 0
        assert trio.current_time() - began < EXIT_SECONDS_MAX
        assert "Traceback" not in server.log_text()
    row, recorded, files = store.job(job), store.parts(job), store.files(job)
    assert (row.status, row.token, row.attempt, row.worker) == ("in-progress", 1, 0, None)
    assert len(recorded) < row.parts_total
    assert store.strays(job) == set()

    async with (
        running_server(store.folder, SMALL_PARTS) as heir,
        export_client(heir.base_url) as client,
    ):
        assert (await client.result(job)).by_type() == undisturbed
    assert (store.job(job).token, store.job(job).attempt) == (2, 1)
    after = store.files(job)
    assert {location: after[location] for location in files} == files


@pytest.fixture
def long_lines(tmp_path: Path) -> Path:
    path = tmp_path / "Basic.ndjson"
    with path.open("w") as file:
        for n in range(LONG_LINES):
            text = {"text": "x" * LONG_LINE_BYTES}
            file.write(json.dumps({"resourceType": "Basic", "id": f"b{n}", "code": text}) + "\n")
    return path


async def test_downloads_at_the_time_of_a_stop_are_whole_or_visibly_cut(
    tmp_path: Path, long_lines: Path
) -> None:
    folder = tmp_path / "store"
    await trio.run_process(
        command("load", str(long_lines)),
        env=environment({"store": f"sqlite:{folder}", "validation": "off"}),
        capture_stdout=True,
        capture_stderr=True,
    )
    async with (
        running_server(folder, {"min_job_age_seconds": 0}) as server,
        export_client(server.base_url) as client,
        export_client(server.base_url) as reads_on,
        export_client(server.base_url) as stands_still,
    ):
        (item,) = (await client.manifest(await client.kick_off()))["output"]
        async with (
            reads_on.http.stream("GET", item["url"], headers=PLAIN) as whole,
            stands_still.http.stream("GET", item["url"], headers=PLAIN) as cut,
        ):
            # Both have begun, and neither can have been sent in full.
            assert int(whole.headers["Content-Length"]) == item["fileSize"]
            assert int(cut.headers["Content-Length"]) == item["fileSize"]
            server.terminate()
            await until_closed(server)
            digest = hashlib.sha256()
            async for block in whole.aiter_raw():
                digest.update(block)
            assert digest.hexdigest() == item["sha256"]
            # The one that reads nothing would be waited for; a second signal does not.
            assert server.process.returncode is None
            server.process.send_signal(signal.SIGTERM)
            assert await server.wait() == 1
            received = 0
            with pytest.raises(httpx.HTTPError):  # noqa: PT012 -- it may come at any block
                async for block in cut.aiter_raw():
                    received += len(block)
            assert received < item["fileSize"]


PLAIN = {"Accept-Encoding": "identity"}


async def until_closed(server: ServerProcess) -> None:
    """Until it takes no new connection."""
    port = httpx.URL(server.root_url).port
    with trio.fail_after(WAIT_SECONDS_MAX):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                return
            await stream.aclose()
            await pause()
