"""$export over HTTP: what is accepted, and what is refused before anything is created."""

from collections.abc import Mapping

import pytest

from engine.instant import format_instant
from engine.messages import Wake
from engine.model import JobId
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.web.answers import issue_of
from tests.web.site import BASE, Site

EXPORT = "/fhir/$export"
ASK = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
JSON_BODY = {**ASK, "Content-Type": "application/json"}
PARAMETERS = b'{"resourceType":"Parameters","parameter":[%b]}'


async def job_at(site: Site, location: str, tenant: TenantId = DEFAULT_TENANT):
    return await site.ports.export_jobs.get(tenant, JobId(location.rpartition("/")[2]))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_kick_off_is_accepted_by_get_and_by_post_D1_E11(site: Site, method: str) -> None:
    response = await site.client.open(f"{EXPORT}?_type=Patient", method=method, headers=ASK)
    assert response.status_code == 202
    assert (await issue_of(response))["severity"] == "information"
    location = response.headers["Content-Location"]
    assert location.startswith(f"{BASE}/$export-status/")  # E44: absolute, from the settings
    job = await job_at(site, location)
    assert job.request.types == ("Patient",)
    assert job.request.url == f"{BASE}/$export?_type=Patient"  # E58
    assert site.commands == [Wake()]


async def test_the_host_header_has_no_say_in_any_url(site: Site) -> None:
    response = await site.client.get(EXPORT, headers={**ASK, "Host": "evil.example.com"})
    assert "evil" not in str(response.headers)
    job = await job_at(site, response.headers["Content-Location"])
    assert "evil" not in job.request.url


async def test_a_body_and_the_query_are_merged_D13(site: Site) -> None:
    body = PARAMETERS % (
        b'{"name":"_type","valueCode":"Observation"},'
        b'{"name":"_type","valueString":"Condition,Encounter"},'
        b'{"name":"_since","valueInstant":"2026-01-01T00:00:00Z"},'
        b'{"name":"_outputFormat","valueCoding":{"code":"ndjson"}}'
    )
    for content_type in ("application/json", "application/fhir+json; charset=utf-8"):
        response = await site.client.post(
            f"{EXPORT}?_type=Patient", headers={**ASK, "Content-Type": content_type}, data=body
        )
        assert response.status_code == 202
        request = (await job_at(site, response.headers["Content-Location"])).request
        assert request.types == ("Condition", "Encounter", "Observation", "Patient")
        assert request.since_ms is not None
        assert request.url == f"{BASE}/$export?_type=Patient"  # E58: without the body's


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/*", "application/fhir+json, */*; q=0.1",
               "text/html, application/fhir+json;q=0.5"],
)  # fmt: skip
async def test_an_accept_header_is_read_as_a_list_D3_E21(site: Site, accept: str | None) -> None:
    headers = {"Prefer": "respond-async"} | ({"Accept": accept} if accept else {})
    assert (await site.client.get(EXPORT, headers=headers)).status_code == 202


@pytest.mark.parametrize(
    "accept",
    ["application/json", "text/html", "application/fhir+xml", "application/fhir+json;q=0, */*",
     "application/fhir+json;q=0", "application/fhir+json;q=x", "fhir"],
)  # fmt: skip
async def test_an_accept_without_fhir_json_is_refused_D3(site: Site, accept: str) -> None:
    response = await site.client.get(EXPORT, headers={**ASK, "Accept": accept})
    assert response.status_code == 406
    assert "application/fhir+json" in (await issue_of(response))["diagnostics"]
    assert await site.nothing_was_created()


@pytest.mark.parametrize("prefer", ["", "return=minimal", "handling=lenient", "respond-asynch"])
async def test_a_missing_respond_async_is_refused_D4(site: Site, prefer: str) -> None:
    headers = {"Accept": "application/fhir+json", "Prefer": prefer}
    response = await site.client.get(EXPORT, headers=headers)
    assert response.status_code == 400
    assert "Prefer: respond-async" in (await issue_of(response))["diagnostics"]
    assert await site.nothing_was_created()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("_foo=1", "handling=lenient"),
        ("_typeFilter=Patient%3Factive%3Dtrue", "_typeFilter"),
        ("patient=Patient/1", "patient"),
        ("_type=Pazient", "Pazient"),
        ("_since=yesterday", "instant"),
        ("_since=2999-01-01T00:00:00Z", "future"),
        ("_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z", "more than once"),
        ("_outputFormat=text/csv", "application/fhir+ndjson"),
        ("_since=2021-01-01T00:00:00Z&_until=2020-01-01T00:00:00Z", "after _until"),
    ],
)
async def test_a_parameter_that_cannot_be_done_creates_nothing_E25(
    site: Site, query: str, says: str
) -> None:
    for method in ("GET", "POST"):
        response = await site.client.open(f"{EXPORT}?{query}", method=method, headers=ASK)
        assert response.status_code == 400
        issue = await issue_of(response)
        assert says in issue["diagnostics"]
        assert issue["expression"]
    assert await site.nothing_was_created()


async def test_lenient_handling_exports_and_keeps_what_it_ignored_E24(site: Site) -> None:
    headers = {**ASK, "Prefer": "respond-async, handling=lenient"}
    response = await site.client.get(f"{EXPORT}?_foo=1&_elements=id", headers=headers)
    assert response.status_code == 202
    job = await job_at(site, response.headers["Content-Location"])
    assert [issue.expression for issue in job.request.issues] == ["_foo", "_elements"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (JSON_BODY, b'{"resourceType":"Patient"}', 400),
        (JSON_BODY, b"[]", 400),
        (JSON_BODY, b"{", 400),
        (JSON_BODY, b"\xff\xfe", 400),
        (JSON_BODY, b"[" * 3000, 400),
        (JSON_BODY, PARAMETERS % b'{"valueString":"x"}', 400),
        (JSON_BODY, PARAMETERS % b'{"name":"_type","valueCode":"A","valueString":"B"}', 400),
        (JSON_BODY, b'{"resourceType":"Parameters","parameter":{}}', 400),
        ({**ASK, "Content-Type": "application/fhir+xml"}, b"<Parameters/>", 415),
        (ASK, b"_type=Patient", 415),
        (JSON_BODY, b"x" * 5000, 413),
    ],
)
async def test_a_body_that_is_not_parameters_creates_nothing(
    site: Site, headers: Mapping[str, str], body: bytes, status: int
) -> None:
    response = await site.client.post(EXPORT, headers=headers, data=body)
    assert response.status_code == status
    await issue_of(response)
    assert await site.nothing_was_created()


async def test_a_since_ahead_of_a_clock_that_stepped_back_is_no_future_D18(site: Site) -> None:
    first = await site.client.get(EXPORT, headers=ASK)
    job = await job_at(site, first.headers["Content-Location"])
    site.clock.step_wall(-3_600_000)
    since = f"{EXPORT}?_since={format_instant(job.snapshot.t_ms)}"
    assert (await site.client.get(since, headers=ASK)).status_code == 202
    later = f"{EXPORT}?_since={format_instant(job.snapshot.t_ms + 3_600_000)}"
    assert (await site.client.get(later, headers=ASK)).status_code == 400


async def test_too_many_open_exports_are_refused_with_a_time_E46(site: Site) -> None:
    for _ in range(site.services.limits.open_jobs_max):
        assert (await site.client.get(EXPORT, headers=ASK)).status_code == 202
    response = await site.client.get(EXPORT, headers=ASK)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert (await issue_of(response))["code"] == "throttled"
    store = await site.ports.tenants.store(DEFAULT_TENANT)
    assert len(await store.pins()) == site.services.limits.open_jobs_max


@pytest.mark.parametrize("path", ["/fhir/Patient/$export", "/fhir/Group/1/$export"])
async def test_other_levels_are_refused_and_not_advertised_E83(site: Site, path: str) -> None:
    response = await site.client.get(path, headers=ASK)
    assert response.status_code == 400
    assert (await issue_of(response))["code"] == "not-supported"
    assert await site.nothing_was_created()


async def test_a_tenant_exports_its_own_store(site: Site) -> None:
    response = await site.client.get("/fhir/acme/research/$export", headers=ASK)
    location = response.headers["Content-Location"]
    assert location.startswith(f"{BASE}/acme/research/$export-status/")
    job = await job_at(site, location, TenantId("acme/research"))
    assert job.tenant == "acme/research"


@pytest.mark.parametrize("tenant", ["nosuch", "acme/nosuch", "ui", "a--", "x" * 200])
async def test_an_unknown_tenant_looks_like_any_unknown_address(site: Site, tenant: str) -> None:
    response = await site.client.get(f"/fhir/{tenant}/$export", headers=ASK)
    nowhere = await site.client.get("/nowhere", headers=ASK)
    assert response.status_code == nowhere.status_code == 404
    assert await response.get_data() == await nowhere.get_data()
    assert await site.nothing_was_created()
