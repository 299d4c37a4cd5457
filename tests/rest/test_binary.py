"""Binary: content of any type, raw and as a resource (binary.html#rest)."""

import base64

import msgspec
import pytest

from tests.rest.server import FHIR_JSON, FhirServer

ONE = "/Binary/b1"
CONTENT = bytes(range(256))


async def test_raw_content_comes_back_as_it_was_sent(server: FhirServer) -> None:
    made = await server.put(ONE, CONTENT, Content_Type="image/png")
    assert made.status == 201
    read = await server.get(ONE)
    assert read.body == CONTENT
    assert read.headers["Content-Type"] == "image/png"
    assert read.headers["ETag"] == 'W/"1"'
    assert (await server.get(ONE, Accept="image/*")).body == CONTENT
    assert (await server.get(f"{ONE}/_history/1", Accept="*/*")).body == CONTENT


async def test_content_is_a_resource_to_who_asks_for_one(server: FhirServer) -> None:
    await server.put(ONE, CONTENT, Content_Type="image/png")
    for read in (
        await server.get(ONE, Accept=FHIR_JSON),
        await server.get(f"{ONE}?_format=json", Accept="*/*"),
    ):
        assert read.json["contentType"] == "image/png"
        assert base64.b64decode(read.json["data"]) == CONTENT


async def test_a_resource_is_content_to_who_asks_for_that(server: FhirServer) -> None:
    data = base64.b64encode(b"text").decode()
    resource = {"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": data}
    assert (await server.put(ONE, resource)).status == 201
    assert (await server.get(ONE)).body == b"text"


async def test_a_post_of_content_makes_an_id(server: FhirServer) -> None:
    made = await server.post("/Binary", b"<x/>", Content_Type="application/xml; charset=utf-8")
    assert made.status == 201
    read = await server.get(f"/Binary/{made.json['id']}")
    assert read.headers["Content-Type"] == "application/xml; charset=utf-8"
    assert read.body == b"<x/>"


async def test_empty_content_is_content(server: FhirServer) -> None:
    assert (await server.put(ONE, b"", Content_Type="text/plain")).status == 201
    read = await server.get(ONE)
    assert (read.status, read.body, read.headers["Content-Type"]) == (200, b"", "text/plain")


async def test_the_security_context_comes_back_too(server: FhirServer) -> None:
    context = "DocumentReference/1"
    await server.put(ONE, b"x", Content_Type="text/plain", X_Security_Context=context)
    read = await server.get(ONE)
    assert read.headers["X-Security-Context"] == context
    resource = (await server.get(ONE, Accept=FHIR_JSON)).json
    assert resource["securityContext"] == {"reference": context}


async def test_content_runs_nothing_in_a_browser(server: FhirServer) -> None:
    await server.put(ONE, b"<script>1</script>", Content_Type="text/html")
    headers = (await server.get(ONE)).headers
    assert headers["Content-Disposition"] == "attachment"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_content_of_another_type_than_is_taken_is_406(server: FhirServer) -> None:
    await server.put(ONE, b"x", Content_Type="text/plain")
    answer = await server.get(ONE, Accept="image/png")
    assert answer.status == 406
    assert answer.headers["Content-Type"].startswith(FHIR_JSON)


@pytest.mark.parametrize(
    "headers",
    [{"Content_Type": ""}, {"Content_Type": "nonsense"}, {"Content_Type": "a/" + "b" * 300}],
)
async def test_content_without_a_type_is_refused(
    server: FhirServer, headers: dict[str, str]
) -> None:
    assert (await server.put(ONE, b"x", **headers)).status == 415
    assert await server.rows() == {}


async def test_content_that_was_read_already_is_304_and_deleted_is_410(
    server: FhirServer,
) -> None:
    await server.put(ONE, b"x", Content_Type="text/plain")
    assert (await server.get(ONE, If_None_Match='W/"1"')).status == 304
    await server.delete(ONE)
    assert (await server.get(ONE)).status == 410


async def test_a_binary_whose_data_is_none_can_be_read_as_a_resource_alone(
    server: FhirServer,
) -> None:
    resource = {"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": "%"}
    assert (await server.put(ONE, resource)).status == 422
    bad = msgspec.json.encode(resource)
    assert (await server.put("/fhir/acme/Binary/b1", bad)).status == 201
    assert (await server.get("/fhir/acme/Binary/b1")).status == 400
    assert (await server.get("/fhir/acme/Binary/b1", Accept=FHIR_JSON)).status == 200
