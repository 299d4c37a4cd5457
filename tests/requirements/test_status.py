"""Status, manifest, files and deletion, from a client's side (bulk-data.md E47 to E79)."""

import gzip
import hashlib
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from engine.fhir.body import prepare
from engine.instant import parse_instant
from engine.model import Issue, WorkerId
from engine.tenant import DEFAULT_TENANT
from tests.requirements.exchange import KICK_OFF, NDJSON, Exchange, job_of, path_of
from tests.support.builders import numbered, prepared
from tests.web.raw_http import Connection

LENIENT = {**KICK_OFF, "Prefer": "respond-async, handling=lenient"}


async def status_path(site: Exchange, **kick_off: Any) -> str:
    accepted = await site.kick_off(**kick_off)
    return path_of(accepted.headers["Content-Location"])


async def test_an_open_job_is_202_with_progress_and_a_time_to_wait_E47_E48_E50(
    site: Exchange,
) -> None:
    answer = await site.client.get(await status_path(site))
    assert answer.status_code == 202
    assert answer.headers["X-Progress"]
    assert len(answer.headers["X-Progress"]) < 100
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_job_that_waits_out_a_trouble_is_still_202_and_asked_for_less_often_E48_E52(
    site: Exchange,
) -> None:
    path = await status_path(site)
    lease = await site.ports.export_leases.claim(WorkerId("w1"), 60.0)
    assert lease is not None
    await site.ports.export_leases.release(lease, delay_s=30.0, reason="no space for output files")
    answer = await site.client.get(path)
    assert answer.status_code == 202
    assert answer.headers["X-Progress"] == "waiting: no space for output files"
    assert 10 <= int(answer.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("separate", [False, True])
async def test_a_failed_job_answers_its_issue_as_fhir_json_E51_E23(
    site: Exchange, *, separate: bool
) -> None:
    prefer = "respond-async" + (", separate-export-status" if separate else "")
    path = await status_path(site, headers={**KICK_OFF, "Prefer": prefer})
    lease = await site.ports.export_leases.claim(WorkerId("w1"), 60.0)
    assert lease is not None
    issue = Issue(severity="fatal", code="incomplete", diagnostics="the store was replaced")
    await site.ports.export_work.fail(lease, issue)
    answer = await site.client.get(path)
    assert answer.status_code == (200 if separate else 500)
    assert answer.headers.get("X-Export-Status") == (
        "500 Internal Server Error" if separate else None
    )
    assert answer.headers["Content-Type"].startswith("application/fhir+json")
    assert answer.json()["issue"][0]["diagnostics"] == "the store was replaced"


async def test_what_was_left_out_is_in_an_error_file_of_a_complete_export_E24_E53_E67(
    site: Exchange,
) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    manifest = await site.export("?_foo=1&_elements=id", headers=LENIENT)
    assert manifest["error"] == manifest["outcome"]
    lines = await site.lines(manifest, "error")
    assert {line["resourceType"] for line in lines} == {"OperationOutcome"}
    named = [issue["expression"] for line in lines for issue in line["issue"]]
    assert named == [["_foo"], ["_elements"]]  # one line each
    assert {item["type"] for item in manifest["output"]} == {"Patient"}


async def test_there_is_one_manifest_and_asking_for_several_is_refused_E56(site: Exchange) -> None:
    refused = await site.kick_off("?allowPartialManifests=true")
    assert refused.status_code == 400
    await site.fill(numbered("Patient", 3))
    path = await status_path(site)
    waiting = await site.client.get(path)
    assert (waiting.status_code, waiting.content) == (202, b"")
    site.work()
    await site.wait_ended(job_of(path))
    assert "link" not in (await site.client.get(path)).json()


async def test_a_complete_export_is_json_that_says_when_it_goes_E54_E55_E79(
    site: Exchange,
) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    first = await site.ended(await site.kick_off())
    assert first.headers["Content-Type"] == "application/json"
    expires = parsedate_to_datetime(first.headers["Expires"]).timestamp() * 1000
    job = await site.ports.export_jobs.get(DEFAULT_TENANT, job_of(first.request.url.path))
    assert job.expires_ms is not None
    assert 0 <= job.expires_ms - expires < 1000
    again = await site.client.get(first.request.url.path)
    assert again.content == first.content
    assert again.headers["Expires"] == first.headers["Expires"]


async def test_the_transaction_time_divides_what_is_in_from_what_is_not_E57(
    site: Exchange,
) -> None:
    before = {f"/fhir/Patient/{n}": b'{"resourceType":"Patient","id":"%d"}' % n for n in range(3)}
    for path, body in before.items():
        assert (await put(site, path, body)).status_code == 201
    accepted = await site.kick_off()
    changed = await put(
        site, "/fhir/Patient/0", b'{"resourceType":"Patient","id":"0","gender":"x"}'
    )
    assert (await site.client.delete("/fhir/Patient/1")).status_code == 204
    await put(site, "/fhir/Patient/9", b'{"resourceType":"Patient","id":"9"}')
    site.work()
    manifest = (await site.ended(accepted)).json()
    lines = await site.lines(manifest)
    assert [(line["id"], line["meta"]["versionId"]) for line in lines] == [
        ("0", "1"), ("1", "1"), ("2", "1"),
    ]  # fmt: skip
    cut = parse_instant(manifest["transactionTime"], name="x")
    assert all(parse_instant(line["meta"]["lastUpdated"], name="x") <= cut for line in lines)
    assert parse_instant(changed.json()["meta"]["lastUpdated"], name="x") > cut


async def put(site: Exchange, path: str, body: bytes) -> Any:
    headers = {"Content-Type": "application/fhir+json"}
    return await site.client.put(path, headers=headers, content=body)


async def test_request_and_access_token_are_said_as_they_are_E58_E59_E75(site: Exchange) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    body = b'{"resourceType":"Parameters","parameter":[{"name":"_type","valueCode":"Patient"}]}'
    headers = {**KICK_OFF, "Content-Type": "application/json"}
    manifest = await site.export("?_since=1970-01-01T00:00:00Z", method="POST", headers=headers,
                                 body=body)  # fmt: skip
    # POST: without the body's parameters.
    assert manifest["request"].endswith("/$export?_since=1970-01-01T00:00:00Z")
    assert manifest["requiresAccessToken"] is False
    assert len(await site.lines(manifest)) == 1  # and so it is


async def test_an_export_of_nothing_has_empty_arrays_and_no_file_E60_D11(site: Exchange) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    for query in ("?_type=Observation", "?_type=Patient&_until=1970-01-01T00:00:00Z"):
        manifest = await site.export(query)
        assert all(manifest[name] == [] for name in ("output", "deleted", "error", "outcome"))


async def test_each_file_has_one_type_and_what_the_manifest_says_of_it_E61_E62_E74_E78_D11(
    site: Exchange,
) -> None:
    await site.fill([*numbered("Patient", 5), *numbered("Observation", 3), *numbered("Basic", 1)])
    site.work()
    manifest = await site.export()
    assert [item["type"] for item in manifest["output"]] == ["Basic", "Observation", "Patient"]
    for item in manifest["output"]:
        answer = await site.client.get(path_of(item["url"]), headers={"Accept": NDJSON})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == NDJSON
        lines = answer.content.split(b"\n")
        assert lines.pop() == b""  # exactly one newline at the end, and none too many
        assert all(b'"resourceType":"%b"' % item["type"].encode() in line for line in lines)
        assert (len(lines), len(answer.content)) == (item["count"], item["fileSize"])
        assert hashlib.sha256(answer.content).hexdigest() == item["sha256"]


async def test_only_the_newest_version_is_exported_with_its_own_meta_E76(site: Exchange) -> None:
    for gender in ("male", "female", "other"):
        body = b'{"resourceType":"Patient","id":"p","gender":"%b"}' % gender.encode()
        await put(site, "/fhir/Patient/p", body)
    site.work()
    (line,) = await site.lines(await site.export())
    assert (line["gender"], line["meta"]["versionId"]) == ("other", "3")
    assert line == (await site.client.get("/fhir/Patient/p")).json()


async def test_gzip_is_sent_to_who_accepts_it_and_says_so_E77(site: Exchange) -> None:
    await site.fill(numbered("Patient", 20))
    site.work()
    (item,) = (await site.export())["output"]
    path = path_of(item["url"])
    plain = await site.client.get(path, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    wants = {"Accept-Encoding": "gzip, identity;q=0"}
    async with site.client.stream("GET", path, headers=wants) as answer:
        packed = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content


async def test_deleted_means_404_for_the_status_and_every_file_E71_E72_E73(
    site: Exchange,
) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    status = await site.ended(await site.kick_off())
    (item,) = status.json()["output"]
    deleted = await site.client.delete(status.request.url.path)
    assert deleted.status_code == 202
    for path in (status.request.url.path, path_of(item["url"])):
        answer = await site.client.get(path)
        assert answer.status_code == 404
        assert answer.json()["issue"][0]["code"] == "not-found"
    again = await site.client.delete(status.request.url.path)
    assert again.status_code == 404  # E71: an error has an outcome too
    assert again.json()["resourceType"] == "OperationOutcome"


async def test_a_job_that_runs_is_deleted_like_one_that_has_ended_E71_E72(site: Exchange) -> None:
    path = await status_path(site)
    assert (await site.client.delete(path)).status_code == 202
    assert (await site.client.get(path)).status_code == 404


async def test_head_of_a_status_and_of_a_file_have_no_body(site: Exchange) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    status = await site.ended(await site.kick_off())
    (item,) = status.json()["output"]
    for path in (status.request.url.path, path_of(item["url"])):
        head, get = await site.client.head(path), await site.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_answers_are_whole_http_messages_on_one_connection(site: Exchange) -> None:
    """A refusal must leave the connection usable: clients keep it for their next poll."""
    path = await status_path(site)
    connection = Connection(await site.server.connect())
    answers = [
        await connection.get(target, Accept="application/fhir+json")
        for target in (path, "/fhir/$export", "/nowhere", path)
    ]
    await connection.stream.aclose()
    assert [answer.status for answer in answers] == [202, 400, 404, 202]
    assert all("x-request-id" in answer.headers for answer in answers)


async def test_bytes_leave_as_they_came_in(site: Exchange) -> None:
    odd = (
        rb'{"resourceType":"Basic","id":"b","n":1.00,"big":12345678901234567890.10,"t":"\u0041\/"}'
    )
    await site.fill([prepare(odd, bytes_max=2000), prepared("Patient", "p")])
    site.work()
    manifest = await site.export("?_type=Basic")
    answer = await site.client.get(path_of(manifest["output"][0]["url"]))
    assert odd.removeprefix(b'{"resourceType":"Basic","id":"b",')[:-1] in answer.content
