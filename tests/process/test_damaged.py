"""Start-up and life with files that are damaged, or that a newer program wrote."""

from collections.abc import Callable
from pathlib import Path

import apsw
import httpx
import pytest
import trio

from tests.process.site import SMALL_PARTS, StoreFolder, until
from tests.support.http_export import KICK_OFF, WAIT_SECONDS_MAX, ExportClient, export_client
from tests.support.server import ServerProcess, command, environment, running_server

PAGE_BYTES = 8192
PATIENTS, PATIENT_BYTES = 8, 100_000
TENANTS = {**SMALL_PARTS, "tenants": "acme,default", "engine.upkeep_seconds": 0.2}


def no_database(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 1000)


def broken_page(path: Path) -> None:
    overwrite(path, 2, 3)


def broken_bodies(path: Path) -> None:
    """The file opens as ever; only the long bodies of its resources cannot be read."""
    connection = apsw.Connection(str(path))
    rows = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = 'version' AND pagetype = 'overflow'"
    ).fetchall()
    connection.close()
    assert rows
    for (page,) in rows:
        overwrite(path, page - 1, 1)


def overwrite(path: Path, first: int, pages: int) -> None:
    with path.open("r+b") as file:
        file.seek(first * PAGE_BYTES)
        file.write(b"\xff" * pages * PAGE_BYTES)


def newer(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 9999")
    connection.close()


HARM = {
    no_database: "not an SQLite file",
    broken_page: "damaged",
    newer: "has schema version 9999",
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
async def test_server_does_not_start_on_a_control_file_it_cannot_trust(
    store: StoreFolder, harm: Callable[[Path], None]
) -> None:
    control = store.folder / "control.db"
    harm(control)
    before = control.read_bytes()
    with trio.fail_after(WAIT_SECONDS_MAX):
        answer = await trio.run_process(
            command("serve"),
            env=environment({"store": f"sqlite:{store.folder}", "bind": "127.0.0.1:0"}),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    message = answer.stderr.decode()
    assert answer.returncode == 2
    assert answer.stdout == b""
    assert message.splitlines()[-1].startswith(f"penstock: {control}: ")
    assert HARM[harm] in message
    assert "Traceback" not in message
    assert control.read_bytes() == before


@pytest.mark.parametrize("harm", [no_database, newer], ids=lambda harm: harm.__name__)
async def test_tenant_whose_file_cannot_be_used_is_refused_and_the_others_live(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    store = StoreFolder(tmp_path / "store")
    await fill_tenant(store, "acme")
    harm(store.tenant_file("acme"))
    async with (
        running_server(store.folder, TENANTS) as server,
        export_client(f"{server.base_url}/acme") as acme,
        export_client(server.base_url) as client,
    ):
        refused = [
            await acme.read("Patient/p1"),
            await acme.http.get(f"{acme.base_url}/$export", headers=KICK_OFF),
        ]
        for answer in refused:
            expect_fault(answer, store)
            assert answer.headers["X-Request-Id"] in server.log_text()
        assert HARM[harm] in server.log_text()
        await expect_others_live(server, client, store)


async def test_export_that_meets_a_damaged_page_fails_and_the_others_live(tmp_path: Path) -> None:
    store = StoreFolder(tmp_path / "store")
    await fill_tenant(store, "acme")
    broken_bodies(store.tenant_file("acme"))
    async with (
        running_server(store.folder, TENANTS) as server,
        export_client(f"{server.base_url}/acme") as acme,
        export_client(server.base_url) as client,
    ):
        job = await acme.kick_off()
        answer = await acme.until(job, lambda answer: answer.status_code != 202)
        expect_fault(answer, store)
        assert "the store cannot be used" in answer.text
        assert HARM[broken_page] in server.log_text()
        await expect_others_live(server, client, store)
        await until(lambda: not store.files(job) and not store.leases())


async def fill_tenant(store: StoreFolder, tenant: str) -> None:
    """Many pages of data, in a file that was closed properly."""
    async with running_server(store.folder, TENANTS) as server:
        async with export_client(f"{server.base_url}/{tenant}") as client:
            for n in range(1, PATIENTS + 1):
                text = {"div": "x" * PATIENT_BYTES}
                await client.put({"resourceType": "Patient", "id": f"p{n}", "text": text})
        server.terminate()
        assert await server.wait() == 0


async def expect_others_live(
    server: ServerProcess, client: ExportClient, store: StoreFolder
) -> None:
    """Also after the janitor has met the damaged file in several rounds."""
    for n in range(1, 4):
        await client.put({"resourceType": "Patient", "id": f"n{n}"})
        export = await client.export()
        assert len(export.lines()) == n
        await client.delete_job(export.job)
        await until(lambda job=export.job: not store.files(job))
    assert (await client.http.get(f"{server.root_url}/readyz")).status_code == 200
    assert server.process.returncode is None


def expect_fault(answer: httpx.Response, store: StoreFolder) -> None:
    """An OperationOutcome that tells nothing of this machine."""
    assert answer.status_code == 500, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert str(store.folder) not in answer.text
    assert store.tenant_file("acme").stem not in answer.text
