"""The frame of every answer: errors, headers, capability, health, metrics."""

import re
from dataclasses import replace

import msgspec
import pytest
import structlog
import trio

from engine.errors import OutputFull, SnapshotGone, TooMany
from engine.fhir.types import STORED_TYPES
from tests.support.builders import line
from tests.support.ports import memory_ports, memory_world
from tests.web.answers import issue_of, json_of
from tests.web.site import BASE, TENANTS, Site
from web.app import create_app
from web.logs import FIELDS

SECRET = "the name of a patient"


async def test_a_fault_of_ours_is_told_without_a_trace(site: Site) -> None:
    @site.app.get("/fault")
    async def fault() -> str:
        raise ValueError(SECRET)

    with structlog.testing.capture_logs() as events:
        response = await site.client.get("/fault")
    assert response.status_code == 500
    assert SECRET not in str(await issue_of(response))
    (event,) = [event for event in events if event["event"] == "request failed"]
    assert event["error"] == "ValueError"
    assert event["where"][-1].endswith(" fault")
    assert SECRET not in str(events)


async def test_errors_of_a_nursery_are_unwrapped(site: Site) -> None:
    async def fail(error: Exception) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    @site.app.get("/group")
    async def group() -> str:
        async with trio.open_nursery() as nursery, trio.open_nursery() as inner:
            inner.start_soon(fail, ValueError(SECRET))
            nursery.start_soon(fail, TooMany("slow down", retry_after_s=7))
        return "never"

    response = await site.client.get("/group")
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("error", "status"), [(OutputFull("no space"), 503), (SnapshotGone("restored"), 500)]
)
async def test_an_engines_error_has_its_status(site: Site, error: Exception, status: int) -> None:
    @site.app.get("/trouble")
    async def trouble() -> str:
        raise error

    assert (await site.client.get("/trouble")).status_code == status


async def test_a_wrong_method_is_told_the_right_ones(site: Site) -> None:
    response = await site.client.post("/fhir/Patient/p1")
    assert response.status_code == 405
    assert "PUT" in response.headers["Allow"]
    assert "PUT" in (await issue_of(response))["diagnostics"]


async def test_a_request_id_is_made_or_given_back(site: Site) -> None:
    made = await site.client.get("/healthz")
    assert re.fullmatch(r"[0-9a-f]{16}", made.headers["X-Request-Id"])
    given = await site.client.get("/healthz", headers={"X-Request-Id": "abc-1"})
    assert given.headers["X-Request-Id"] == "abc-1"
    bad = await site.client.get("/healthz", headers={"X-Request-Id": "x" * 65})
    assert bad.headers["X-Request-Id"] != "x" * 65


async def test_answers_are_neither_cached_nor_guessed_at(site: Site) -> None:
    for path in ("/healthz", "/nowhere", "/fhir/metadata"):
        headers = (await site.client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_a_request_is_logged_by_its_route_and_not_by_what_it_asked(site: Site) -> None:
    with structlog.testing.capture_logs() as events:
        await site.client.get("/fhir/acme/Patient/secret-id?name=secret-name")
    (event,) = events
    assert event["route"] == "/fhir/<fhir_type:type>/<id>"
    assert event["status"] == 400
    assert "secret" not in str(event)
    assert set(event) - {"log_level"} <= FIELDS


async def test_the_capability_statement_says_what_is_wired_E83(site: Site) -> None:
    response = await site.client.get("/fhir/metadata")
    statement = await json_of(response)
    assert statement["resourceType"] == "CapabilityStatement"
    assert statement["implementation"]["url"] == BASE
    (rest,) = statement["rest"]
    assert [operation["name"] for operation in rest["operation"]] == ["export"]
    assert {resource["type"] for resource in rest["resource"]} == STORED_TYPES


async def test_the_capability_statement_is_each_tenants_own(site: Site) -> None:
    response = await site.client.get("/fhir/acme/research/metadata")
    assert (await json_of(response))["implementation"]["url"] == f"{BASE}/acme/research"
    assert (await site.client.get("/fhir/nosuch/metadata")).status_code == 404
    assert (await site.client.get("/fhir/metadata?_format=xml")).status_code == 406


async def test_readiness_follows_the_engine_and_liveness_does_not(site: Site) -> None:
    assert (await site.client.get("/readyz")).status_code == 200
    site.flags["ready"] = False
    assert (await site.client.get("/readyz")).status_code == 503
    assert (await site.client.get("/healthz")).status_code == 200


async def test_metrics_count_jobs_and_requests_without_naming_a_tenant(site: Site) -> None:
    ask = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
    await site.client.get("/fhir/acme/$export", headers=ask)
    await site.client.get("/fhir/$export", headers=ask)
    await site.client.get("/no/such/secret")
    response = await site.client.get("/metrics")
    text = (await response.get_data()).decode()
    assert 'penstock_export_jobs{status="accepted"} 2.0' in text
    export = 'penstock_http_requests_total{method="GET",route="/fhir/$export",status="202"} 2.0'
    assert export in text
    assert 'route="unmatched",status="404"' in text
    assert "process_resident_memory_bytes" in text
    assert not any(tenant in text for tenant in TENANTS)
    assert "secret" not in text


async def test_two_applications_share_no_metrics(site: Site) -> None:

    other = create_app(site.services).test_client()
    await site.client.get("/healthz")
    text = (await (await other.get("/metrics")).get_data()).decode()
    assert 'route="/healthz"' not in text


async def test_a_body_with_a_get_is_no_harm(site: Site) -> None:
    response = await site.client.get("/fhir/Patient/p1", data=line())
    assert response.status_code == 404
    assert msgspec.json.decode(await response.get_data())["resourceType"] == "OperationOutcome"


async def test_readiness_says_what_is_in_trouble_and_no_more(site: Site) -> None:
    world = memory_world()
    world.files_bytes_max = 0
    async with memory_ports(world) as ports:
        client = create_app(replace(site.services, ports=ports)).test_client()
        with structlog.testing.capture_logs() as events:
            response = await client.get("/readyz")
    assert response.status_code == 503
    assert await json_of(response) == {"status": "output unavailable"}
    (event,) = [event for event in events if event["event"] == "not ready"]
    assert "no space" in event["reason"]
