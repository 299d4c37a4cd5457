"""`penstock load` as a user meets it: real processes, real files, exit statuses."""

import gzip
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
import trio

from engine.tenant import DEFAULT_TENANT, TenantId
from tests.support.server import command, environment
from web.compose import compose
from web.settings import load_settings

LIMIT_SECONDS = 60


async def load(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
    """Run `penstock load` in a folder, on the store in it."""
    with trio.fail_after(LIMIT_SECONDS):
        return await trio.run_process(
            command("load", *arguments),
            env=environment({"store": "sqlite:store", **settings}),
            cwd=folder,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


async def stored(folder: Path, type: str, id: str, tenant: TenantId = DEFAULT_TENANT) -> dict:
    """A resource as the store has it."""
    environ = {"PENSTOCK_STORE": f"sqlite:{folder / 'store'}"}
    async with compose(load_settings(environ=environ)) as ports:
        store = await ports.tenants.store(tenant)
        version = await store.read(type, id)
        assert version is not None and version.body is not None
        return json.loads(version.body)


def patients(count: int) -> bytes:
    return b"".join(b'{"resourceType":"Patient","id":"p%d"}\n' % n for n in range(count))


def totals(answer: subprocess.CompletedProcess) -> dict[str, int]:
    """The counts of --json that are not 0."""
    counts = json.loads(answer.stdout)
    names = ("created", "updated", "unchanged", "rejected", "conditionalReferences")
    return {name: counts[name] for name in names if counts[name]}


async def test_folder_of_every_kind_is_loaded_and_a_repeated_load_changes_nothing(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.ndjson").write_bytes(patients(1_200))
    (data / "b.ndjson.gz").write_bytes(gzip.compress(b'{"resourceType":"Patient","id":"b"}'))
    urn = "urn:uuid:6f1f5c7e-9f5a-4a52-9d9a-0a4f6a0f7c11"
    entries = [
        {"fullUrl": urn, "resource": {"resourceType": "Patient", "id": "anna"}},
        {"resource": {"resourceType": "Practitioner", "id": "p", "identifier": [{"value": "1"}]}},
        {
            "resource": {
                "resourceType": "Observation",
                "id": "o",
                "status": "final",
                "code": {"text": "x"},
                "subject": {"reference": urn},
                "performer": [{"reference": "Practitioner?identifier=1"}],
            }
        },
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    (data / "c.json").write_text(json.dumps(bundle, indent=1))

    first = await load(tmp_path, "data", "--json")
    assert first.returncode == 0, first.stderr
    assert totals(first) == {"created": 1_204, "conditionalReferences": 1}
    again = await load(tmp_path, "data", "--json")
    assert again.returncode == 0
    assert totals(again) == {"unchanged": 1_204, "conditionalReferences": 1}

    (data / "b.ndjson.gz").write_bytes(b'{"resourceType":"Patient","id":"b","language":"de"}')
    assert totals(await load(tmp_path, "data/b.ndjson.gz", "--json")) == {"updated": 1}
    observation = await stored(tmp_path, "Observation", "o")
    assert observation["subject"] == {"reference": "Patient/anna"}
    assert observation["performer"] == [{"reference": "Practitioner/p"}]
    assert (await stored(tmp_path, "Patient", "b"))["meta"]["versionId"] == "2"


async def test_rejected_lines_are_named_and_written_and_the_rest_is_loaded(tmp_path):
    bad = b'{"resourceType":"Patient","id":"Jane Doe"}\n'
    (tmp_path / "x.ndjson").write_bytes(
        patients(2) + bad + b"\n{\n" + b'{"resourceType":"Patient","id":"b"}'
    )
    answer = await load(tmp_path, "x.ndjson", "--rejects", "bad.ndjson")
    assert answer.returncode == 1
    assert b"x.ndjson:3: id is not" in answer.stderr
    assert b"x.ndjson:5: is not JSON" in answer.stderr
    assert b"3  created" in answer.stdout and b"2  rejected" in answer.stdout
    rows = [json.loads(line) for line in (tmp_path / "bad.ndjson").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rows] == [("x.ndjson", 3), ("x.ndjson", 5)]
    assert all(row["error"] for row in rows)
    assert b"Jane" not in answer.stderr + answer.stdout + (tmp_path / "bad.ndjson").read_bytes()


async def test_only_the_first_rejected_lines_are_shown_and_all_are_written(tmp_path):
    (tmp_path / "x.ndjson").write_bytes(b"{\n" * 2_500)
    answer = await load(tmp_path, "x.ndjson", "--rejects", "bad.ndjson", "--json")
    assert answer.stderr.count(b"is not JSON") == len(json.loads(answer.stdout)["rejects"]) == 100
    assert b"--rejects FILE lists them all" in answer.stderr
    assert totals(answer) == {"rejected": 2_500}
    assert (tmp_path / "bad.ndjson").read_bytes().count(b"\n") == 2_500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.ndjson", "x.ndjson"), b"gone.ndjson: there is no such file"),
        (("x.ndjson", "--rejects", "no/such/folder"), b"--rejects no/such/folder"),
        (("x.ndjson", "--tenant", "nobody"), b"nobody"),
        ((), b"PATH"),
    ],
)
async def test_what_cannot_be_started_loads_nothing(tmp_path, arguments, message):
    (tmp_path / "x.ndjson").write_bytes(patients(1))
    answer = await load(tmp_path, *arguments)
    assert answer.returncode == 2, answer.stderr
    assert message in answer.stderr
    assert b"Traceback" not in answer.stderr
    assert answer.stdout == b""


async def test_an_empty_file_is_told_and_the_status_is_0(tmp_path):
    (tmp_path / "x.ndjson").write_bytes(b"")
    answer = await load(tmp_path, "x.ndjson")
    assert answer.returncode == 0
    assert b"x.ndjson: the file is empty" in answer.stderr


async def test_source_versions_are_kept_on_request(tmp_path):
    line = b'{"resourceType":"Patient","id":"p","meta":{"versionId":"17"}}'
    (tmp_path / "x.ndjson").write_bytes(line)
    assert (await load(tmp_path, "x.ndjson", "--keep-source")).returncode == 0
    meta = (await stored(tmp_path, "Patient", "p"))["meta"]
    assert meta["versionId"] == "1"
    assert [extension["valueId"] for extension in meta["extension"]] == ["17"]


async def test_the_limit_of_a_line_is_a_setting(tmp_path):
    (tmp_path / "x.ndjson").write_bytes(patients(1) + b'{"x":"%b"}\n' % (b"x" * 500))
    answer = await load(tmp_path, "x.ndjson", resource_bytes_max="300")
    assert b"x.ndjson:2: longer than the limit of 300 bytes" in answer.stderr


async def test_interrupt_stores_what_was_read_and_says_how_much(tmp_path):
    """The file never ends, so only the signal can have ended the load."""
    os.mkfifo(tmp_path / "pipe")

    def feed() -> None:
        number = 0
        with suppress(BrokenPipeError), open(tmp_path / "pipe", "wb", buffering=0) as pipe:
            pipe.write(b"{\n")
            while True:
                rows = range(number, number + 100)
                pipe.write(b"".join(b'{"resourceType":"Patient","id":"%d"}\n' % n for n in rows))
                number += 100

    with trio.fail_after(LIMIT_SECONDS):
        process = await trio.lowlevel.open_process(
            command("load", "pipe", "--json"),
            env=environment({"store": "sqlite:store"}),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, feed)
            # The first batch is durable once its rejected line is told.
            told = await process.stderr.receive_some()
            assert b"pipe:1: is not JSON" in told
            process.send_signal(signal.SIGINT)
            said = b"".join([piece async for piece in process.stdout])
            assert await process.wait() == 130
    counts = json.loads(said)
    assert counts["stopped"] and counts["created"] > 0
    last = counts["created"] - 1
    assert (await stored(tmp_path, "Patient", str(last)))["id"] == str(last)
    with pytest.raises(AssertionError):
        await stored(tmp_path, "Patient", str(last + 1))
    await process.stderr.aclose()


@pytest.mark.parametrize("workers", ["0", "2"])
async def test_invalid_resources_are_rejected_by_element_unless_validation_is_off(
    tmp_path, workers
):
    (tmp_path / "x.ndjson").write_bytes(
        patients(1) + b'{"resourceType":"Patient","id":"p","gender":"Jane"}\n'
    )
    arguments = ("x.ndjson", "--json", "--workers", workers, "--rejects", "bad.ndjson")
    checked = await load(tmp_path, *arguments)
    assert checked.returncode == 1
    assert totals(checked) == {"created": 1, "rejected": 1}
    row = json.loads((tmp_path / "bad.ndjson").read_text())
    assert (row["line"], row["error"].partition(":")[0]) == (2, "Patient.gender")
    assert "Jane" not in row["error"]
    unchecked = await load(tmp_path, *arguments, "--validation", "off")
    assert unchecked.returncode == 0
    assert totals(unchecked) == {"created": 1, "unchanged": 1}
    again = await load(tmp_path, "x.ndjson", "--json", tenant_validation="default=off")
    assert totals(again) == {"unchanged": 2}


async def test_a_search_parameter_that_is_loaded_indexes_what_comes_after_it(tmp_path):
    parameter = {
        "resourceType": "SearchParameter", "id": "s", "url": "http://x.test/s", "name": "S",
        "status": "active", "description": "x", "code": "shoe", "base": ["Patient"],
        "type": "string", "expression": "Patient.name.text",
    }  # fmt: skip
    named = b'{"resourceType":"Patient","id":"n%d","name":[{"text":"n%d"}]}\n'
    (tmp_path / "a.ndjson").write_text(json.dumps(parameter))
    (tmp_path / "b.ndjson").write_bytes(b"".join(named % (n, n) for n in range(20_000)))
    answer = await load(tmp_path, "a.ndjson", "b.ndjson", "--json", "--workers", "1")
    assert totals(answer) == {"created": 20_001}
    (path,) = (tmp_path / "store" / "tenants").glob("*.db")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    newest = "SELECT count(*) FROM live WHERE live.defs = (SELECT meta.defs FROM meta)"
    assert connection.execute(newest).get >= 15_000  # all but those that share its batch
    assert connection.execute("SELECT defs FROM meta").get == 2
