"""The commands as a user meets them: real processes, real files, exit statuses."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from engine.export.kickoff import kick_off
from engine.fhir.body import prepare
from engine.limits import EngineLimits
from engine.model import ExportRequest
from engine.ports import Ports
from engine.tenant import DEFAULT_TENANT
from tests.support.server import command, environment
from web.compose import compose
from web.settings import load_settings

LIMIT_SECONDS = 60


async def penstock(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
    """Run a command on the store in `folder`."""
    given = {"store": f"sqlite:{folder / 'store'}", **settings}
    with trio.fail_after(LIMIT_SECONDS):
        return await trio.run_process(
            command(*arguments),
            env=environment(given),
            cwd=folder,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


def store_in(folder: Path) -> AbstractAsyncContextManager[Ports]:
    """The store that the commands work on, opened by this process beside them."""
    return compose(load_settings(environ={"PENSTOCK_STORE": f"sqlite:{folder / 'store'}"}))


async def loaded(folder: Path, count: int, **more: object) -> None:
    """Put `count` patients into the store."""
    async with store_in(folder) as ports:
        store = await ports.tenants.store(DEFAULT_TENANT)
        bodies = [{"resourceType": "Patient", "id": f"p{n}", **more} for n in range(count)]
        await store.ingest([prepare(json.dumps(b).encode(), bytes_max=1 << 20) for b in bodies])


async def test_export_leaves_whole_files_and_a_manifest_that_is_true(tmp_path):
    await loaded(tmp_path, 500)
    answer = await penstock(tmp_path, "export", "--out", "out", "--json")
    assert answer.returncode == 0, answer.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert json.loads(answer.stdout)["manifest"] == manifest
    (item,) = manifest["output"]
    data = (tmp_path / "out" / item["url"]).read_bytes()
    assert item["count"] == data.count(b"\n") == 500
    assert item["fileSize"] == len(data)
    assert item["sha256"] == hashlib.sha256(data).hexdigest()
    assert sorted(os.listdir(tmp_path / "out")) == ["Patient-1.ndjson", "manifest.json"]


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_export_gives_the_form_that_was_asked_for_whatever_lies_in_the_store(
    tmp_path, coding
):
    await loaded(tmp_path, 50)
    plain = await penstock(tmp_path, "export", "--out", "plain", output_coding=coding)
    packed = await penstock(tmp_path, "export", "--out", "packed", "--gzip", output_coding=coding)
    assert (plain.returncode, packed.returncode) == (0, 0)
    data = (tmp_path / "plain" / "Patient-1.ndjson").read_bytes()
    assert gzip.decompress((tmp_path / "packed" / "Patient-1.ndjson.gz").read_bytes()) == data
    manifest = json.loads((tmp_path / "packed" / "manifest.json").read_text())
    assert manifest["output"][0]["url"] == "Patient-1.ndjson.gz"
    assert manifest["output"][0]["sha256"] == hashlib.sha256(data).hexdigest()


async def test_export_since_the_one_before_holds_only_what_came_later(tmp_path):
    await loaded(tmp_path, 3)
    first = await penstock(tmp_path, "export", "--out", "first", "--json")
    time = json.loads(first.stdout)["manifest"]["transactionTime"]
    await loaded(tmp_path, 1, active=True)
    second = await penstock(tmp_path, "export", "--out", "second", "--since", time)
    assert second.returncode == 0, second.stderr
    (line,) = (tmp_path / "second" / "Patient-1.ndjson").read_text().splitlines()
    assert json.loads(line)["active"] is True


async def test_export_leaves_no_job_and_no_file_in_the_store(tmp_path):
    await loaded(tmp_path, 3)
    await penstock(tmp_path, "export", "--out", "out")
    jobs = await penstock(tmp_path, "jobs", "list", "--json")
    assert json.loads(jobs.stdout) == []
    output = tmp_path / "store" / "output"
    assert [path for path in output.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--type", "Patien"], "Patien"),
        (["--since", "yesterday"], "_since"),
        (["--since", "2999-01-01T00:00:00Z"], "future"),
        (["--tenant", "nobody"], "no tenant 'nobody'"),
    ],
)
async def test_export_that_cannot_start_says_why_and_makes_nothing(tmp_path, arguments, words):
    await loaded(tmp_path, 1)
    answer = await penstock(tmp_path, "export", "--out", "out", *arguments)
    assert answer.returncode == 2
    assert words in answer.stderr.decode()
    assert "Traceback" not in answer.stderr.decode()
    assert not (tmp_path / "out" / "manifest.json").exists()
    jobs = await penstock(tmp_path, "jobs", "list", "--json")
    assert json.loads(jobs.stdout) == []


async def test_export_never_touches_a_folder_that_holds_something(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    answer = await penstock(tmp_path, "export", "--out", "out")
    assert answer.returncode == 2
    assert b"not empty" in answer.stderr
    assert os.listdir(tmp_path / "out") == ["mine"]


async def test_mistyped_setting_stops_every_command_before_it_does_anything(tmp_path):
    for arguments in (["serve"], ["export", "--out", "out"], ["jobs", "list"], ["doctor"]):
        answer = await penstock(tmp_path, *arguments, lease_secnods="60")
        assert answer.returncode == 2, arguments
        assert answer.stderr.count(b"\n") == 1
        assert b"PENSTOCK_LEASE_SECNODS" in answer.stderr
    assert os.listdir(tmp_path) == []


async def test_unknown_command_is_bad_usage(tmp_path):
    answer = await penstock(tmp_path, "exprot")
    assert answer.returncode == 2
    assert b"No such command" in answer.stderr


async def test_job_id_that_is_none_is_refused(tmp_path):
    answer = await penstock(tmp_path, "jobs", "show", "../control.db")
    assert answer.returncode == 2
    assert b"32 hexadecimal digits" in answer.stderr


@pytest.mark.parametrize("action", ["show", "cancel"])
async def test_job_of_nobody_or_of_another_tenant_is_not_found(tmp_path, action):
    async with store_in(tmp_path) as ports:
        request = ExportRequest()
        job = await kick_off(ports, EngineLimits(), DEFAULT_TENANT, request)
    tenants = "default,acme"
    for arguments in ((job.id, "--tenant", "acme"), ("0" * 32,)):
        answer = await penstock(tmp_path, "jobs", action, *arguments, tenants=tenants)
        assert answer.returncode == 1
        assert answer.stderr.startswith(b"penstock: ")
    own = await penstock(tmp_path, "jobs", action, job.id, "--json", tenants=tenants)
    assert json.loads(own.stdout)["status"] == {"show": "accepted", "cancel": "cancelled"}[action]


async def test_doctor_finds_nothing_wrong_with_a_new_place_and_makes_nothing(tmp_path):
    answer = await penstock(tmp_path, "doctor", "--json")
    facts = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert facts["ok"] is True
    assert facts["settings"]["engine.lease_seconds"] == 60
    assert os.listdir(tmp_path) == []


async def test_doctor_looks_into_every_tenant(tmp_path):
    await loaded(tmp_path, 3)
    answer = await penstock(tmp_path, "doctor", "--json", tenants="default,acme/research")
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert checks["tenant default"]["message"] == "3 resources"
    assert checks["tenant acme/research"]["message"] == "0 resources"
    assert checks["schema"]["health"] == "ok"


async def test_doctor_names_a_damaged_store(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "control.db").write_bytes(b"this is no database" * 1000)
    answer = await penstock(tmp_path, "doctor")
    assert answer.returncode == 1
    assert b"control.db" in answer.stdout
    assert b"failed" in answer.stdout
    assert b"Traceback" not in answer.stderr


async def test_damaged_store_stops_the_server_with_one_line(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "control.db").write_bytes(b"this is no database" * 1000)
    answer = await penstock(tmp_path, "serve", bind="127.0.0.1:0")
    assert answer.returncode == 2
    assert answer.stdout == b""
    assert answer.stderr.count(b"\n") == 1
    assert b"control.db" in answer.stderr


async def test_reader_that_leaves_early_gets_no_traceback(tmp_path):
    """As in `penstock jobs list | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with trio.fail_after(LIMIT_SECONDS):
            answer = await trio.run_process(
                command("doctor"),
                env=environment({"store": f"sqlite:{tmp_path / 'store'}"}),
                stdout=writing,
                capture_stderr=True,
                check=False,
            )
    finally:
        os.close(writing)
    assert answer.returncode == 1
    assert answer.stderr == b""


async def test_interrupted_export_leaves_neither_files_nor_a_job(tmp_path):
    await loaded(tmp_path, 10)
    async with store_in(tmp_path) as ports:
        # A file where the tenant's folder belongs: the job waits for the trouble to pass.
        tenant = await ports.tenants.get(DEFAULT_TENANT)
        obstacle = tmp_path / "store" / "output" / tenant.key
        obstacle.touch()
        process = await trio.lowlevel.open_process(
            command("export", "--out", str(tmp_path / "out")),
            env=environment({"store": f"sqlite:{tmp_path / 'store'}"}),
            stderr=subprocess.DEVNULL,
        )
        with trio.fail_after(LIMIT_SECONDS):
            await _parked(ports)
            obstacle.unlink()
            process.send_signal(signal.SIGINT)
            await process.wait()
        assert await ports.export_jobs.list(None) == []
        assert await ports.outputs.jobs() == []
        assert await (await ports.tenants.store(DEFAULT_TENANT)).pins() == []
    assert process.returncode == 130
    assert os.listdir(tmp_path / "out") == []


async def _parked(ports: Ports) -> None:
    seen = 0
    while not any(job.reason for job in await ports.export_jobs.list(None)):
        seen = await ports.export_leases.wait_changed(seen)


async def test_version_is_that_of_the_distribution(tmp_path):
    answer = await penstock(tmp_path, "version")
    assert answer.returncode == 0
    assert answer.stdout.startswith(b"penstock 0.")


async def test_shell_completion_knows_commands_and_settings(tmp_path):
    completing = {"_PENSTOCK_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    with trio.fail_after(LIMIT_SECONDS):
        answer = await trio.run_process(
            command(),
            env={**environment(), **completing, "COMP_WORDS": "penstock do"},
            capture_stdout=True,
            check=False,
        )
    assert b"doctor" in answer.stdout
