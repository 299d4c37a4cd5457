"""Status, manifest and deletion of an export over HTTP (bulk-data.md E47 to E73, D6)."""

from email.utils import parsedate_to_datetime

import msgspec
import pytest
import trio

from engine.errors import Transient
from engine.messages import CancelJob
from engine.model import ExportJob, ExportStatus, Issue, JobId, Lease
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.support.builders import numbered
from tests.web.answers import issue_of, json_of
from tests.web.raw_http import Connection, serving
from tests.web.site import BASE, WORKER, Site
from web.fhir.progress import fraction_done, progress_text, retry_after_s

ASK = {"Accept": "application/fhir+json", "Prefer": "respond-async"}


async def kick_off(site: Site, query: str = "", prefer: str = "respond-async") -> str:
    """The path of a new job's status."""
    headers = {**ASK, "Prefer": prefer}
    response = await site.client.get(f"/fhir/$export{query}", headers=headers)
    assert response.status_code == 202
    return response.headers["Content-Location"].removeprefix(BASE.removesuffix("/fhir"))


def job_id(path: str) -> JobId:
    return JobId(path.rpartition("/")[2])


async def claim(site: Site) -> Lease:
    lease = await site.ports.export_leases.claim(WORKER, 60.0)
    assert lease is not None
    return lease


async def finished(site: Site, query: str = "", prefer: str = "respond-async") -> str:
    """The path of a job that the engine has finished."""
    path = await kick_off(site, query, prefer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.supervisor().run)
        with trio.fail_after(30):
            while not (await site.ports.export_jobs.get(DEFAULT_TENANT, job_id(path))).status.ended:
                await site.clock.sleep(1)
        nursery.cancel_scope.cancel()
    return path


async def test_a_young_job_is_in_progress_with_a_short_retry_E47_E48_D6(site: Site) -> None:
    path = await kick_off(site)
    response = await site.client.get(path)
    assert response.status_code == 202
    assert response.headers["Retry-After"] == "1"
    assert response.headers["X-Progress"] == "accepted: waiting for its turn"  # E50


async def test_an_answer_without_a_body_names_no_type(site: Site) -> None:
    path = await kick_off(site)
    async with serving(site.app) as server:
        connection = Connection(await server.connect())
        answer = await connection.get(path)
        await connection.stream.aclose()
    assert (answer.status, answer.body) == (202, b"")
    assert "content-type" not in answer.headers


async def test_a_job_that_ended_at_once_still_answers_202_first_D6(
    site: Site, autojump_clock: object
) -> None:
    path = await kick_off(site)
    await site.ports.export_work.finish(await claim(site), retention_s=60)
    assert (await site.client.get(path)).status_code == 202
    await site.clock.sleep(site.services.settings.min_job_age_seconds)
    assert (await site.client.get(path)).status_code == 200


async def test_a_finished_export_answers_its_manifest_and_its_files_E54_E57(
    site: Site, autojump_clock: object
) -> None:
    store = await site.ports.tenants.store(DEFAULT_TENANT)
    await store.ingest([*numbered("Patient", 3), *numbered("Observation", 2)])
    path = await finished(site)
    response = await site.client.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    manifest = await json_of(response)
    counts = {item["type"]: item["count"] for item in manifest["output"]}
    assert counts == {"Patient": 3, "Observation": 2}
    assert manifest["request"] == f"{BASE}/$export"
    for item in manifest["output"]:
        file = await site.client.get(item["url"].removeprefix(BASE.removesuffix("/fhir")))
        body = await file.get_data()
        assert file.status_code == 200
        assert len(body) == item["fileSize"]
        assert body.count(b"\n") == item["count"]


async def test_a_finished_export_says_when_it_expires_and_is_gone_then_E55(
    site: Site, autojump_clock: object
) -> None:
    path = await finished(site)
    response = await site.client.get(path)
    expires_ms = parsedate_to_datetime(response.headers["Expires"]).timestamp() * 1000
    left_ms = expires_ms - site.clock.now_ms()
    assert 0 < left_ms <= site.services.limits.retention_seconds * 1000
    await site.clock.sleep(left_ms / 1000 + 1)
    assert (await site.client.get(path)).status_code == 404


async def test_what_lenient_handling_ignored_is_in_an_error_file_E24_E53(
    site: Site, autojump_clock: object
) -> None:
    path = await finished(site, "?_foo=1", "respond-async, handling=lenient")
    response = await site.client.get(path)
    assert response.status_code == 200  # E53
    manifest = await json_of(response)
    assert manifest["error"] == manifest["outcome"]
    (item,) = manifest["error"]
    file = await site.client.get(item["url"].removeprefix(BASE.removesuffix("/fhir")))
    (line,) = (await file.get_data()).splitlines()
    assert "_foo" in msgspec.json.decode(line)["issue"][0]["diagnostics"]


async def test_a_failed_job_answers_500_with_its_issue_E51(site: Site) -> None:
    path = await kick_off(site)
    issue = Issue(code="incomplete", diagnostics="the store was replaced")
    await site.ports.export_work.fail(await claim(site), issue)
    response = await site.client.get(path)
    assert response.status_code == 500
    assert (await issue_of(response))["diagnostics"] == "the store was replaced"


async def test_a_job_that_waits_says_why_E50(site: Site) -> None:
    path = await kick_off(site)
    await site.ports.export_leases.release(await claim(site), delay_s=30, reason="no space\r\nleft")
    response = await site.client.get(path)
    assert response.headers["X-Progress"] == "waiting: no space??left"


async def test_a_deleted_job_answers_202_and_404_from_then_on_E71_E72(site: Site) -> None:
    path = await kick_off(site)
    assert (await site.client.delete(path)).status_code == 202
    assert site.commands[-1] == CancelJob(job_id(path))
    for response in (await site.client.get(path), await site.client.delete(path)):
        assert response.status_code == 404
        assert (await issue_of(response))["code"] == "not-found"


async def test_the_files_of_a_deleted_export_are_not_served_E73(
    site: Site, autojump_clock: object
) -> None:
    store = await site.ports.tenants.store(DEFAULT_TENANT)
    await store.ingest(numbered("Patient", 1))
    path = await finished(site)
    (item,) = (await json_of(await site.client.get(path)))["output"]
    file = item["url"].removeprefix(BASE.removesuffix("/fhir"))
    assert (await site.client.get(file)).status_code == 200
    await site.client.delete(path)
    assert (await site.client.get(file)).status_code == 404


async def test_a_cancelled_job_is_not_there(site: Site) -> None:
    path = await kick_off(site)
    await site.ports.export_jobs.cancel(DEFAULT_TENANT, job_id(path))
    assert (await site.client.get(path)).status_code == 404
    assert (await site.client.delete(path)).status_code == 404


@pytest.mark.parametrize(
    "job",
    ["0" * 32, "0" * 31, "A" * 32, "0" * 33, "..", "%2e%2e", "..%2f" * 5, "$export", "x" * 4000],
)
async def test_what_is_no_job_id_is_not_found(site: Site, job: str) -> None:
    for method in ("GET", "DELETE"):
        response = await site.client.open(f"/fhir/$export-status/{job}", method=method)
        assert response.status_code == 404
        await issue_of(response)
    assert site.commands == []


async def test_another_tenants_job_is_as_unknown_as_one_that_never_was(
    site: Site, autojump_clock: object
) -> None:
    store = await site.ports.tenants.store(DEFAULT_TENANT)
    await store.ingest(numbered("Patient", 1))
    mine = job_id(await finished(site))
    commands = len(site.commands)
    for name in (f"$export-status/{mine}", f"$export-file/{mine}/Patient-1.ndjson"):
        assert (await site.client.get(f"/fhir/{name}")).status_code == 200
        theirs = await site.client.get(f"/fhir/acme/{name}")
        never = await site.client.get(f"/fhir/acme/{name.replace(mine, '0' * 32)}")
        assert theirs.status_code == never.status_code == 404
        assert await theirs.get_data() == await never.get_data()
    assert (await site.client.delete(f"/fhir/acme/$export-status/{mine}")).status_code == 404
    assert (await site.ports.export_jobs.get(DEFAULT_TENANT, mine)).status is ExportStatus.COMPLETE
    assert len(site.commands) == commands


@pytest.mark.parametrize(
    "file", ["Patient-2.ndjson", "../Patient-1.ndjson", "..%2fPatient-1.ndjson", "Patient-1",
             "Patient-01.ndjson", "%2e%2e/%2e%2e/control.db", "error-Patient-1.ndjson"],
)  # fmt: skip
async def test_a_file_that_the_manifest_does_not_name_is_not_found(
    site: Site, file: str, autojump_clock: object
) -> None:
    store = await site.ports.tenants.store(DEFAULT_TENANT)
    await store.ingest(numbered("Patient", 1))
    path = await finished(site)
    response = await site.client.get(f"/fhir/$export-file/{job_id(path)}/{file}")
    assert response.status_code == 404
    await issue_of(response)


async def test_a_store_that_does_not_answer_is_a_transient_failure_of_the_poll_E52(
    site: Site,
) -> None:
    @site.app.get("/trouble")
    async def trouble() -> str:
        raise Transient("the store is busy")

    response = await site.client.get("/trouble")
    assert response.status_code == 503
    assert (await issue_of(response))["code"] == "transient"
    assert int(response.headers["Retry-After"]) > 0


def with_progress(job: ExportJob, **values: int) -> ExportJob:
    progress = msgspec.structs.replace(job.progress, **values)
    return msgspec.structs.replace(job, status=ExportStatus.IN_PROGRESS, progress=progress)


async def test_progress_is_counted_in_files_and_in_bytes_E50(site: Site) -> None:
    path = await kick_off(site)
    job = await site.ports.export_jobs.get(TenantId("default"), job_id(path))
    assert progress_text(with_progress(job)) == "in-progress: planning"
    running = with_progress(job, parts_done=12, parts_total=40, bytes_done=31, bytes_estimate=100)
    assert progress_text(running) == "in-progress: 12 of 40 files, 31 %"
    assert fraction_done(with_progress(job, parts_done=1, parts_total=4)) == 0.25
    assert fraction_done(with_progress(job, bytes_done=300, bytes_estimate=100)) == 1.0
    long = msgspec.structs.replace(running, reason="x" * 500)
    assert len(progress_text(long)) < 100


async def test_the_time_to_the_next_poll_follows_what_is_left_E48(site: Site) -> None:
    path = await kick_off(site)
    job = await site.ports.export_jobs.get(TenantId("default"), job_id(path))
    half = with_progress(job, bytes_done=50, bytes_estimate=100)
    assert retry_after_s(half, 5) == 1
    assert retry_after_s(half, 40) == 10
    assert retry_after_s(half, 100_000) == 60
    assert retry_after_s(with_progress(job), 12) == 3
