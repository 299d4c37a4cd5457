"""One resource over HTTP: create, read, vread, update, delete."""

from email.utils import parsedate_to_datetime

import msgspec
import pytest

from engine.instant import parse_instant
from engine.tenant import DEFAULT_TENANT
from tests.support.builders import ODD_MEMBERS, line
from tests.web.answers import FHIR_JSON, issue_of, json_of
from tests.web.site import BASE, Site

SEND = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
ONE = "/fhir/Patient/p1"


async def put(site: Site, body: bytes = line(), **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await site.client.put(ONE, headers={**SEND, **named}, data=body)


async def test_a_created_resource_is_stored_and_named(site: Site) -> None:
    body = b'{"resourceType":"Patient",%b}' % ODD_MEMBERS
    response = await site.client.post("/fhir/Patient", headers=SEND, data=body)
    assert response.status_code == 201
    assert response.headers["ETag"] == 'W/"1"'
    location = response.headers["Location"]
    assert location.startswith(f"{BASE}/Patient/")
    assert location.endswith("/_history/1")
    id = location.split("/")[-3]
    store = await site.ports.tenants.store(DEFAULT_TENANT)
    stored = await store.read("Patient", id)
    assert stored is not None
    assert stored.body == await response.get_data()
    assert ODD_MEMBERS in stored.body  # every byte as it was sent


async def test_a_create_does_not_take_the_clients_id(site: Site) -> None:
    response = await site.client.post("/fhir/Patient", headers=SEND, data=line(id="mine"))
    assert response.status_code == 201
    assert (await json_of(response))["id"] != "mine"
    assert (await site.client.get("/fhir/Patient/mine")).status_code == 404


async def test_a_create_with_an_id_still_finds_members_that_come_twice(site: Site) -> None:
    body = line(members=b'"active":true,"active":false')
    response = await site.client.post("/fhir/Patient", headers=SEND, data=body)
    assert response.status_code == 400
    assert await site.nothing_was_created()


async def test_an_update_creates_and_then_counts_versions(site: Site) -> None:
    first, second = await put(site), await put(site, line(members=b'"active":true'))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.headers["ETag"] == 'W/"2"'
    assert second.headers["Location"] == f"{BASE}/Patient/p1/_history/2"
    read = await site.client.get(ONE)
    assert read.status_code == 200
    assert read.headers["Content-Type"] == FHIR_JSON
    meta = (await json_of(read))["meta"]
    assert meta["versionId"] == "2"
    modified = parsedate_to_datetime(read.headers["Last-Modified"]).timestamp()
    assert modified == parse_instant(meta["lastUpdated"], name="x") // 1000


async def test_every_version_can_be_read(site: Site) -> None:
    await put(site)
    await put(site, line(members=b'"active":true'))
    first = await site.client.get(f"{ONE}/_history/1")
    assert first.status_code == 200
    assert first.headers["ETag"] == 'W/"1"'
    assert "active" not in await json_of(first)
    for version in ("3", "0", "01", "x", "-1", "9" * 30):
        assert (await site.client.get(f"{ONE}/_history/{version}")).status_code == 404


async def test_an_update_of_another_version_is_refused(site: Site) -> None:
    await put(site)
    assert (await put(site, If_Match='W/"1"')).status_code == 200
    response = await put(site, If_Match='W/"1"')
    assert response.status_code == 412
    assert (await issue_of(response))["code"] == "conflict"
    for malformed in ("two", "*", 'W/"0"', '"1", "2"'):
        assert (await put(site, If_Match=malformed)).status_code == 400


async def test_a_deleted_resource_is_gone_and_its_versions_stay(site: Site) -> None:
    await put(site)
    response = await site.client.delete(ONE)
    assert response.status_code == 204
    assert response.headers["ETag"] == 'W/"2"'
    gone = await site.client.get(ONE)
    assert gone.status_code == 410
    assert (await issue_of(gone))["code"] == "deleted"
    assert (await site.client.get(f"{ONE}/_history/1")).status_code == 200
    assert (await site.client.get(f"{ONE}/_history/2")).status_code == 410
    assert (await site.client.delete(ONE)).status_code == 204
    assert (await put(site)).headers["ETag"] == 'W/"3"'


async def test_a_delete_of_another_version_is_refused(site: Site) -> None:
    await put(site)
    response = await site.client.delete(ONE, headers={"If-Match": 'W/"7"'})
    assert response.status_code == 412
    assert (await site.client.get(ONE)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "structure"),
        (b"{", 400, "structure"),
        (b'{"id":"p1"}', 400, "required"),
        (line(type="Observation"), 400, "value"),
        (line(id="p2"), 400, "value"),
        (line(members=b'"n":NaN'), 400, "structure"),
        (line(members=b'"t":"\xff"'), 400, "structure"),
        (line(members=b'"x":' + b"[" * 100 + b"]" * 100), 400, "too-costly"),
        (line(members=b'"t":"' + b"x" * 2500 + b'"'), 413, "too-long"),
        (line(members=b'"t":"' + b"x" * 5000 + b'"'), 413, "too-long"),
    ],
)
async def test_what_cannot_be_stored_is_refused_without_quoting_it(
    site: Site, body: bytes, status: int, code: str
) -> None:
    response = await put(site, body)
    assert response.status_code == status
    issue = await issue_of(response)
    assert issue["code"] == code
    assert "xxx" not in issue["diagnostics"]
    assert await site.nothing_was_created()


@pytest.mark.parametrize("content_type", ["application/fhir+xml", "text/plain", ""])
async def test_a_body_that_is_not_json_is_refused_415(site: Site, content_type: str) -> None:
    response = await put(site, Content_Type=content_type)
    assert response.status_code == 415
    assert "application/fhir+json" in (await issue_of(response))["diagnostics"]
    assert await site.nothing_was_created()


@pytest.mark.parametrize("query", ["", "?_format=xml"])
async def test_an_answer_in_xml_is_refused_406(site: Site, query: str) -> None:
    headers = {"Accept": "application/fhir+xml"} if not query else {}
    response = await site.client.get(f"{ONE}{query}", headers=headers)
    assert response.status_code == 406
    await issue_of(response)


async def test_a_format_parameter_outranks_the_accept_header(site: Site) -> None:
    await put(site)
    response = await site.client.get(f"{ONE}?_format=json", headers={"Accept": "text/html"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [("?_unknown=true", {}), ("?_format=json&_at=2020", {})],
)
async def test_what_would_be_answered_in_another_form_is_refused(
    site: Site, path: str, headers: dict[str, str]
) -> None:
    response = await site.client.put(ONE + path, headers={**SEND, **headers}, data=line())
    assert response.status_code == 400
    assert (await issue_of(response))["code"] == "not-supported"
    assert await site.nothing_was_created()


@pytest.mark.parametrize(
    "path", ["Pazient/1", "patient/1", "Patient/a_b", "Patient/" + "x" * 65, "Parameters/1",
             "../etc/passwd", "Patient/%2e%2e%2fx", "/Patient/1", "Patient//1", "Patient/1/"],
)  # fmt: skip
async def test_an_address_of_nothing_is_not_found(site: Site, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        response = await site.client.open(
            f"/fhir/{path}", method=method, headers=SEND, data=line() if method == "PUT" else None
        )
        assert response.status_code == 404
        await issue_of(response)
    assert await site.nothing_was_created()


async def test_return_minimal_is_answered_without_the_body(site: Site) -> None:
    response = await put(site, Prefer="return=minimal")
    assert response.status_code == 201
    assert await response.get_data() == b""
    assert response.headers["ETag"] == 'W/"1"'


async def test_a_tenants_resource_is_not_there_for_another(site: Site) -> None:
    await site.client.put("/fhir/acme/Patient/p1", headers=SEND, data=line())
    assert (await site.client.get("/fhir/acme/Patient/p1")).status_code == 200
    for base in ("/fhir", "/fhir/acme/research", "/fhir/nosuch"):
        response = await site.client.get(f"{base}/Patient/p1")
        assert response.status_code == 404
        assert msgspec.json.decode(await response.get_data()) == msgspec.json.decode(
            await (await site.client.get("/nowhere")).get_data()
        )
