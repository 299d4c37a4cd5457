"""`penstock serve` as a process: start, signals, drain, end."""

import gzip
import re
import signal
import socket
from pathlib import Path

import httpx
import pytest
import trio

from engine.fhir.body import prepare
from engine.model import ExportJob, ExportStatus
from engine.tenant import DEFAULT_TENANT
from tests.support.server import ServerProcess, command, environment, running_server
from web.compose import compose
from web.settings import load_settings

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "synthea-r4"
KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
LIMIT_SECONDS = 60
SOME_PARTS = re.compile(r"[1-9]\d* of \d+ files")
# Hundreds of parts, each with its own syncs: a job that is still running when a signal comes.
SMALL_PARTS = {"engine.part_bytes": 65536, "engine.lanes_per_job": 1}


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store with some thousand resources."""
    lines = []
    for name in ("Encounter", "Observation", "Claim"):
        packed = (SAMPLE / f"{name}.ndjson.gz").read_bytes()
        lines += gzip.decompress(packed).split(b"\n")[:-1]
    async with compose(settings_for(tmp_path)) as ports:
        tenant = await ports.tenants.store(DEFAULT_TENANT)
        for first in range(0, len(lines), 1000):
            await tenant.ingest(
                [prepare(line, bytes_max=1 << 20) for line in lines[first : first + 1000]]
            )
    return tmp_path


def settings_for(folder: Path):
    return load_settings(environ={"PENSTOCK_STORE": f"sqlite:{folder}"})


async def started_job(server: ServerProcess, client: httpx.AsyncClient) -> str:
    """Kick off, and wait until the first parts are there."""
    answer = await client.get(f"{server.base_url}/$export", headers=KICK_OFF)
    assert answer.status_code == 202, answer.text
    status = answer.headers["Content-Location"]
    with trio.fail_after(LIMIT_SECONDS):
        while not SOME_PARTS.search((await client.get(status)).headers["X-Progress"]):
            pass
    return status


async def only_job(folder: Path) -> ExportJob:
    async with compose(settings_for(folder)) as ports:
        (job,) = await ports.export_jobs.list(None)
        return job


async def until_not_ready(server: ServerProcess, client: httpx.AsyncClient) -> None:
    with trio.fail_after(LIMIT_SECONDS):
        while (await client.get(f"{server.root_url}/readyz")).status_code == 200:
            pass


async def test_first_signal_lets_the_running_job_finish_and_listens_to_the_end(store):
    settings = {**SMALL_PARTS, "engine.drain_seconds": 60}
    async with running_server(store, settings) as server, httpx.AsyncClient() as client:
        status = await started_job(server, client)
        server.terminate()
        await until_not_ready(server, client)
        assert (await client.get(status)).status_code in (200, 202)
        assert await server.wait() == 0
        with pytest.raises(httpx.ConnectError):
            await client.get(status)
    assert (await only_job(store)).status is ExportStatus.COMPLETE


async def test_draining_server_releases_what_it_cannot_finish_and_the_next_one_goes_on(store):
    settings = {**SMALL_PARTS, "engine.drain_seconds": 0}
    async with running_server(store, settings) as server, httpx.AsyncClient() as client:
        await started_job(server, client)
        server.terminate()
        assert await server.wait() == 0
    released = await only_job(store)
    assert released.status is ExportStatus.IN_PROGRESS
    assert released.attempt == 0  # a release gives the attempt back
    assert 0 < released.progress.parts_done < released.progress.parts_total
    async with running_server(store, {"engine.lanes_per_job": 2}):
        with trio.fail_after(LIMIT_SECONDS):
            async with compose(settings_for(store)) as ports:
                seen, job = 0, released
                while not job.status.ended:
                    seen = await ports.export_leases.wait_changed(seen)
                    job = await ports.export_jobs.get(DEFAULT_TENANT, job.id)
    assert job.status is ExportStatus.COMPLETE
    assert job.progress.parts_total == released.progress.parts_total


async def test_second_signal_stops_at_once(store):
    settings = {**SMALL_PARTS, "engine.drain_seconds": 3600}
    async with running_server(store, settings) as server, httpx.AsyncClient() as client:
        await started_job(server, client)
        server.terminate()
        await until_not_ready(server, client)
        server.process.send_signal(signal.SIGINT)
        assert await server.wait() == 1
    job = await only_job(store)
    assert job.status is ExportStatus.IN_PROGRESS
    assert job.attempt == 0


async def test_idle_server_stops_cleanly_on_ctrl_c(tmp_path):
    async with running_server(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert await server.wait() == 0
        assert "Traceback" not in server.log_text()


async def test_address_in_use_stops_the_start_with_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with trio.fail_after(LIMIT_SECONDS):
            answer = await trio.run_process(
                command("serve"),
                env=environment({"store": f"sqlite:{tmp_path}", "bind": bind}),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    assert answer.returncode == 2
    assert answer.stdout == b""
    lines = answer.stderr.decode().splitlines()
    assert lines[-1].startswith("penstock: setting bind:")
    assert bind in lines[-1]
    assert "Traceback" not in answer.stderr.decode()


async def test_several_addresses_serve_the_same(tmp_path):
    path = tmp_path / "socket"
    bind = f"127.0.0.1:0,unix:{path}"
    async with running_server(tmp_path / "store", bind=bind) as server:
        over_socket = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient() as tcp, httpx.AsyncClient(transport=over_socket) as local:
            first = await tcp.get(f"{server.base_url}/metadata")
            second = await local.get("http://penstock/fhir/metadata")
        assert len(server.addresses) == 2
        assert first.status_code == second.status_code == 200
        # From the settings, whatever Host the client names.
        assert second.json()["implementation"]["url"] == server.base_url
