"""Create, read, update and delete: what a client can rely on (http.html)."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from tests.rest.server import BASE, FHIR_JSON, FhirServer, identified, patient

ONE = "/Patient/p1"


async def test_a_create_makes_a_new_id_and_the_first_version(server: FhirServer) -> None:
    made = await server.post("/Patient", patient("mine", active=True))
    assert made.status == 201
    assert made.etag == 'W/"1"'
    id = made.json["id"]
    assert id != "mine"
    assert made.headers["Location"] == f"{BASE}/Patient/{id}/_history/1"
    assert (await server.get(f"/Patient/{id}")).json == made.json


async def test_an_update_of_an_equal_body_makes_a_version_too(server: FhirServer) -> None:
    first, second = await server.put(ONE, patient()), await server.put(ONE, patient())
    assert (first.status, second.status) == (201, 200)
    assert second.etag == 'W/"2"'


async def test_an_update_replaces_tags_profiles_and_security(server: FhirServer) -> None:
    tag = {"system": "urn:t", "code": "a"}
    await server.put(ONE, patient(meta={"tag": [tag], "profile": ["urn:p"], "security": [tag]}))
    after = await server.put(ONE, patient(meta={"tag": [{"system": "urn:t", "code": "b"}]}))
    meta = after.json["meta"]
    assert meta["tag"] == [{"system": "urn:t", "code": "b"}]
    assert not {"profile", "security"} & set(meta)


@pytest.mark.parametrize("tag", ['W/"1"', '"1"', "1", ' W/"1" '])
async def test_if_match_takes_a_version_in_each_form(server: FhirServer, tag: str) -> None:
    await server.put(ONE, patient())
    assert (await server.put(ONE, patient(), If_Match=tag)).status == 200
    late = await server.put(ONE, patient(), If_Match=tag)
    assert late.status == 412
    assert late.issue["code"] == "conflict"
    assert (await server.delete(ONE, If_Match=tag)).status == 412
    assert (await server.patch(ONE, [], If_Match=tag)).status == 412
    assert (await server.get(ONE)).etag == 'W/"2"'


async def test_if_match_on_what_is_not_there_fails(server: FhirServer) -> None:
    for method in ("PUT", "DELETE"):
        body = patient() if method == "PUT" else None
        assert (await server.ask(method, ONE, body, If_Match='W/"1"')).status == 412
    assert await server.rows() == {}


async def test_if_none_match_star_only_creates(server: FhirServer) -> None:
    assert (await server.put(ONE, patient(), If_None_Match="*")).status == 201
    assert (await server.put(ONE, patient(), If_None_Match="*")).status == 412
    await server.delete(ONE)
    assert (await server.put(ONE, patient(), If_None_Match="*")).etag == 'W/"3"'
    assert (await server.put(ONE, patient(), If_None_Match='W/"3"')).status == 400


async def test_what_was_deleted_is_gone_until_it_is_updated(server: FhirServer) -> None:
    await server.put(ONE, patient())
    deleted = await server.delete(ONE)
    assert (deleted.status, deleted.etag) == (204, 'W/"2"')
    assert (await server.get(ONE)).status == 410
    assert (await server.get(f"{ONE}/_history/2")).status == 410
    assert (await server.get(f"{ONE}/_history/1")).status == 200
    again = await server.delete(ONE)
    assert (again.status, again.etag) == (204, 'W/"2"')
    back = await server.put(ONE, patient())
    assert (back.status, back.etag) == (201, 'W/"3"')


async def test_deleting_what_never_was_is_no_error(server: FhirServer) -> None:
    answer = await server.delete(ONE)
    assert answer.status == 204
    assert "ETag" not in answer.headers


async def test_ids_differ_by_case(server: FhirServer) -> None:
    await server.put("/Patient/a", patient("a", active=True))
    await server.put("/Patient/A", patient("A", active=False))
    assert (await server.get("/Patient/a")).json["active"] is True
    assert (await server.get("/Patient/A")).json["active"] is False
    await server.delete("/Patient/a")
    assert (await server.get("/Patient/A")).status == 200


async def test_a_read_of_a_version_that_the_client_has_is_304(server: FhirServer) -> None:
    await server.put(ONE, patient())
    for tags in ('W/"1"', '"1"', "*", 'W/"7", W/"1"'):
        answer = await server.get(ONE, If_None_Match=tags)
        assert (answer.status, answer.body, answer.etag) == (304, b"", 'W/"1"')
    assert (await server.get(ONE, If_None_Match='W/"2"')).status == 200
    assert (await server.get(f"{ONE}/_history/1", If_None_Match='W/"1"')).status == 304


async def test_a_read_of_what_has_not_changed_since_is_304(server: FhirServer) -> None:
    modified = (await server.put(ONE, patient())).headers["Last-Modified"]
    assert (await server.get(ONE, If_Modified_Since=modified)).status == 304
    seconds = parsedate_to_datetime(modified).timestamp() - 1
    before = format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
    assert (await server.get(ONE, If_Modified_Since=before)).status == 200
    assert (await server.get(ONE, If_Modified_Since="yesterday")).status == 200
    both = await server.get(ONE, If_Modified_Since=modified, If_None_Match='W/"9"')
    assert both.status == 200


async def test_head_is_a_get_without_the_body(server: FhirServer) -> None:
    await server.put(ONE, patient())
    for path in (ONE, f"{ONE}/_history/1", f"{ONE}/_history", "/Patient?_id=p1", "/metadata"):
        got, headed = await server.get(path), await server.ask("HEAD", path)
        assert headed.status == got.status == 200
        assert headed.headers["Content-Type"] == got.headers["Content-Type"]
        assert headed.headers.get("ETag") == got.headers.get("ETag")
    assert (await server.ask("HEAD", "/Patient/none")).status == 404


async def test_prefer_says_what_an_answer_to_a_write_holds(server: FhirServer) -> None:
    minimal = await server.put(ONE, patient(), Prefer="return=minimal")
    assert (minimal.status, minimal.body, minimal.etag) == (201, b"", 'W/"1"')
    whole = await server.put(ONE, patient(), Prefer="return=representation")
    assert whole.json["id"] == "p1"
    outcome = await server.put(ONE, patient(), Prefer="return=OperationOutcome")
    assert (outcome.status, outcome.issue["severity"]) == (200, "information")
    assert outcome.headers["Location"] == f"{BASE}/Patient/p1/_history/3"
    deleted = await server.delete(ONE, Prefer="return=OperationOutcome")
    assert (deleted.status, deleted.issue["severity"]) == (200, "information")


async def test_digits_and_escapes_stay_through_every_form(server: FhirServer) -> None:
    decimal = b'{"resourceType":"Basic","id":"b","code":{"text":"\\u00e9\\/"},"extension":'
    decimal += b'[{"url":"urn:x","valueDecimal":1.00}]}'
    assert (await server.put("/Basic/b", decimal)).status == 201
    for query in ("", "?_pretty=true", "?_elements=extension", "?_summary=data"):
        assert b"1.00" in (await server.get(f"/Basic/b{query}")).body
    assert b'"\\u00e9\\/"' in (await server.get("/Basic/b?_pretty=true")).body
    assert b"1.00" in (await server.get("/Basic?_pretty=true")).body
    assert b"\n  " in (await server.get("/Basic/b?_pretty=true")).body


async def test_elements_and_summary_leave_the_rest_out_and_say_so(server: FhirServer) -> None:
    name = [{"family": "F"}]
    await server.put(ONE, patient(name=name, birthDate="1980-01-01", multipleBirthBoolean=True))
    part = (await server.get(f"{ONE}?_elements=birthDate")).json
    assert part["birthDate"] == "1980-01-01"
    assert "name" not in part
    assert part["meta"]["tag"][0]["code"] == "SUBSETTED"
    summary = (await server.get(f"{ONE}?_summary=true")).json
    assert "multipleBirthBoolean" not in summary
    assert summary["name"] == name
    whole = (await server.get(f"{ONE}?_summary=false")).json
    assert "tag" not in whole["meta"]
    for wrong in ("_summary=count", "_summary=maybe", "_pretty=yes", "_elements=,"):
        assert (await server.get(f"{ONE}?{wrong}")).status == 400


async def test_xml_is_refused_with_an_outcome_in_json(server: FhirServer) -> None:
    xml = "application/fhir+xml"
    await server.put(ONE, patient())
    asked = [
        await server.get(ONE, Accept=xml),
        await server.get(f"{ONE}?_format=xml", Accept=FHIR_JSON),
        await server.get("/Patient?_format=xml"),
        await server.get(f"{ONE}/_history?_format=xml"),
    ]
    sent = [
        await server.put(ONE, b"<Patient/>", Content_Type=xml),
        await server.post("/Patient", b"<Patient/>", Content_Type=xml),
        await server.patch(ONE, b"<diff/>", Content_Type="application/xml-patch+xml"),
    ]
    assert [answer.status for answer in asked] == [406] * 4
    assert [answer.status for answer in sent] == [415] * 3
    for answer in [*asked, *sent]:
        assert answer.headers["Content-Type"].startswith(FHIR_JSON)
        assert answer.issue["code"] == "not-supported"
    assert (await server.get(ONE)).etag == 'W/"1"'


async def test_format_goes_before_accept(server: FhirServer) -> None:
    await server.put(ONE, patient())
    for value in ("json", "application/json", "application/fhir%2Bjson", FHIR_JSON):
        answer = await server.get(f"{ONE}?_format={value}", Accept="text/html")
        assert answer.status == 200, value


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"resourceType":"Patient","id":"p1",\n"active":tru}', 400, "structure"),
        (b'{"resourceType":"Patient","id":"p1","active":"yes"}', 422, "structure"),
        (b'{"resourceType":"Patient","id":"p1","gender":"strange"}', 422, "value"),
        (b'{"resourceType":"Patient","id":"p1","birthDate":"1.1.1980"}', 422, "value"),
        (b'{"resourceType":"Patient","id":"p1","nickname":"x"}', 422, "structure"),
        (b'{"resourceType":"Patient","id":"p2"}', 400, "value"),
        (b'{"resourceType":"Observation"}', 400, "value"),
        (b'{"resourceType":"Patient"}', 400, "required"),
        (b"[]", 400, "structure"),
        (b"", 400, "structure"),
    ],
)
async def test_a_bad_body_is_refused_and_nothing_written(
    server: FhirServer, body: bytes, status: int, code: str
) -> None:
    answer = await server.put(ONE, body)
    assert answer.status == status, answer.body
    assert answer.issue["severity"] == "error"
    if status == 422:
        assert answer.issue["expression"][0].startswith("Patient")
    assert "strange" not in answer.body.decode()
    assert await server.rows() == {}
    assert code in [issue["code"] for issue in answer.json["issue"]]


async def test_every_problem_of_a_resource_is_named_by_its_element(server: FhirServer) -> None:
    body = patient(active="x", contact=[{"name": {"family": 1}}], birthDate="x")
    answer = await server.put(ONE, body)
    found = {issue["expression"][0] for issue in answer.json["issue"]}
    assert found == {"Patient.active", "Patient.contact[0].name.family", "Patient.birthDate"}


async def test_broken_json_is_named_by_line_and_column(server: FhirServer) -> None:
    answer = await server.put(ONE, b'{"resourceType":"Patient",\n  "active":,\n}')
    assert "line 2, column 12" in answer.issue["diagnostics"]


async def test_a_tenant_may_have_its_validation_off(server: FhirServer) -> None:
    bad = patient(nickname="x")
    assert (await server.put("/Patient/p1", bad)).status == 422
    assert (await server.put("/fhir/acme/Patient/p1", bad)).status == 201


@pytest.mark.parametrize("version", ["2", "0", "x", "01", "-1", "9" * 30])
async def test_a_version_that_does_not_exist_is_not_found(server: FhirServer, version: str) -> None:
    await server.put(ONE, patient())
    assert (await server.get(f"{ONE}/_history/{version}")).status == 404


async def test_a_large_body_goes_through_a_thread_and_comes_out_the_same(
    server: FhirServer,
) -> None:
    members = [{"entity": {"reference": f"Patient/{n}"}} for n in range(5000)]
    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": True}
    answer = await server.put("/Group/g", {**group, "member": members})
    assert answer.status == 201, answer.body[:500]
    assert len(answer.json["member"]) == 5000
    bad = await server.put("/Group/g", {**group, "member": [*members, {"entity": 5}]})
    assert bad.status == 422
    assert bad.issue["expression"] == ["Group.member[5000].entity"]


async def test_a_request_keeps_its_id(server: FhirServer) -> None:
    answer = await server.get("/Patient/none", X_Request_Id="abc-1")
    assert answer.headers["X-Request-Id"] == "abc-1"
    assert (await server.post("/Patient", identified("1"))).headers["X-Request-Id"]
