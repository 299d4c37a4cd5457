"""Whatever a client sends, the answer is an OperationOutcome that says so, and never a fault."""

import random
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.rest.server import FHIR_JSON, JSON_PATCH, SETTINGS, FhirServer, observation, patient

REQUESTS = 400
KEPT = "/?&=%;:@!$'()*+,~|\"<>\\"  # what a careless client does not escape
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
PIECES = (
    "Patient", "Observation", "Binary", "SearchParameter", "Parameters", "Nothing", "p1", "o1",
    "%00", "%ff", "é", "..", ".", "*", "", "_search", "_history", "$validate", "$meta",
    "$meta-add", "$everything", "$export", "$nothing", "metadata", "1", "2", "-1", "acme",
    "x" * 300, "%2F", "'", '"', ";", "<script>",
)  # fmt: skip
ROUTES = (
    "", "Patient", "Patient/p1", "Observation", "Observation/o1", "Patient/_search", "_search",
    "Patient/p1/_history", "Patient/_history", "_history", "Patient/p1/_history/1", "metadata",
    "Patient/p1/Observation", "Patient/p1/*", "Patient/p1/$everything", "Patient/$validate",
    "Patient/p1/$validate", "Patient/p1/$meta", "Patient/p1/$meta-add", "Binary", "Binary/b1",
    "Patient/p1/$meta-delete", "SearchParameter/s", "acme/Patient", "acme/Patient/p1",
)  # fmt: skip
NAMES = (
    "_id", "_count", "_sort", "_include", "_revinclude", "_has:Observation:patient:code", "_type",
    "_elements", "_summary", "_total", "_since", "_at", "_cursor", "_format", "_pretty", "_list",
    "_lastUpdated", "name", "birthdate", "subject", "subject:Patient.name", "subject.subject.name",
    "value-quantity", "code-value-quantity", "identifier:of-type", "gender:not", "name:exact",
    "a.b.c.d", ":", "_has", "_has:::", "_include:iterate", "mode", "profile", "\0", "_filter",
)  # fmt: skip
VALUES = (
    "", "1", "-1", "0", "x", "1e400", "NaN", "2020", "2020-02-30", "9999-12-31", "0000", "gt2020",
    "gtx", "|", "||", "a|b", "a|b|c", "$", "a$b", "\\", "\\,", ",", ",,", "*", "Patient/p1",
    "Patient/p1/_history/1", "http://[", "Observation:subject", "Observation:*", "true", "count",
    "json", "xml", "ß\ud7ff", "\0", "1.00|http://unitsofmeasure.org|mg", "a" * 3000, "-date,_id",
)  # fmt: skip
BODIES = (
    b"", b"{", b"[]", b"null", b"\xff", b"1", b'"x"', b'{"resourceType":1}',
    b'{"resourceType":"Patient","id":"p1"}', b'{"resourceType":"Patient","id":5}',
    b'{"resourceType":"Patient","meta":5}',
    b'{"resourceType":"Patient","multipleBirthInteger":1e999}',
    b'{"resourceType":"Observation","id":"o1","valueQuantity":{"value":1e308}}',
    b'[{"op":"add","path":"","value":5}]', b'[{"op":"move","from":"/meta","path":"/meta/x"}]',
    b'[{"op":"copy","from":"/id","path":"/active"}]', b"family=x&_count=1", b"&&==%",
    b'{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{}]}}]}',
    b'{"resourceType":"SearchParameter","id":"s","code":"x","expression":"((","base":["Patient"]}',
    b'{"a":' * 70 + b"1" + b"}" * 70, b'{"resourceType":"Bundle","type":"batch"}',
)  # fmt: skip
TYPES = (
    FHIR_JSON, JSON_PATCH, "application/x-www-form-urlencoded", "text/plain", "",
    "application/json",
    "application/fhir+xml", "nonsense", "application/fhir+json; charset=latin-1",
)  # fmt: skip
HEADERS: dict[str, tuple[str, ...]] = {
    "If-Match": ('W/"1"', "*", "x", '"', "9" * 40),
    "If-None-Match": ('W/"1"', "*", "x", ","),
    "If-Modified-Since": ("x", "Sat, 29 Oct 1994 19:43:31 GMT", "Sat, 29 Oct 99999 19:43:31 GMT"),
    "If-None-Exist": ("", "identifier=1", "%ff", "?", "_sort=x", "name=a&name=b"),
    "Prefer": ("return=minimal", "return=OperationOutcome", "handling=strict", "return", "=", ";;"),
    "Accept": ("*/*", "text/html", FHIR_JSON, "a/b;q=x", ",", "application/fhir+json;q=0"),
    "X-Security-Context": ("Patient/1", "\t", "x" * 3000),
}


def any_request(chance: random.Random) -> tuple[str, str, bytes | None, dict[str, str]]:
    """Pieces of sense put together without any."""
    path = chance.choice(ROUTES)
    if chance.random() < 0.2:
        path = "/".join(chance.choice(PIECES) for _ in range(chance.randint(0, 5)))
    pairs = [(chance.choice(NAMES), chance.choice(VALUES)) for _ in range(chance.randint(0, 3))]
    query = "&".join(f"{name}={value}" for name, value in pairs)
    body = chance.choice(BODIES) if chance.random() < 0.6 else None
    headers = {name: chance.choice(of) for name, of in HEADERS.items() if chance.random() < 0.15}
    if chance.random() < 0.9:
        headers["Content-Type"] = chance.choice(TYPES)
    address = quote(f"/fhir/{path}?{query}", safe=KEPT)
    return chance.choice(METHODS), address, body, headers


@pytest.mark.parametrize("seed", range(3))
async def test_no_request_is_a_fault_of_the_server(server: FhirServer, seed: int) -> None:
    chance = random.Random(seed)
    await server.put("/Patient/p1", patient())
    await server.put("/Observation/o1", observation("o1"))
    for number in range(REQUESTS):
        method, path, body, headers = any_request(chance)
        if "$export" in path:
            continue
        response = await server.client.open(path, method=method, headers=headers, data=body)
        told = f"seed {seed}, request {number}: {method} {path} {headers} {body!r}"
        assert response.status_code not in (500, 501), told
        if response.status_code >= 400 and method != "HEAD":
            outcome = msgspec.json.decode(await response.get_data())
            assert outcome["resourceType"] == "OperationOutcome", told
            assert outcome["issue"][0]["diagnostics"], told


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/Patient/p1", patient(text={"status": "empty", "div": "x" * 3000})),
        ("POST", "/Patient", patient(text={"status": "empty", "div": "x" * 5000})),
        ("PUT", "/Patient?_id=p1", patient(text={"status": "empty", "div": "x" * 3000})),
        ("POST", "/Patient/$validate", b" " * 5000),
        ("POST", "/Patient/_search", b"a=" + b"x" * 5000),
        ("PATCH", "/Patient/p1", b" " * 5000),
        ("PUT", "/Binary/b1", b"x" * 5000),
    ],
)
async def test_a_body_over_the_limit_is_refused_413(
    server: FhirServer, method: str, path: str, body: Any
) -> None:
    small = FhirServer.of(
        server.ports,
        msgspec.structs.replace(SETTINGS, resource_bytes_max=2000, request_bytes_max=4000),
    )
    kinds = {"PATCH": JSON_PATCH, "/Binary/b1": "text/plain"}
    kind = kinds.get(method, kinds.get(path, FHIR_JSON))
    if path.endswith("_search"):
        kind = "application/x-www-form-urlencoded"
    answer = await small.ask(method, path, body, Content_Type=kind)
    assert answer.status == 413
    assert answer.issue["code"] == "too-long"
    assert await server.rows() == {}


async def test_an_include_that_comes_back_to_where_it_was_ends(server: FhirServer) -> None:
    link = {"type": "seealso", "other": {"reference": "Patient/p2"}}
    back = {"type": "seealso", "other": {"reference": "Patient/p1"}}
    await server.put("/Patient/p1", patient("p1", link=[link]))
    await server.put("/Patient/p2", patient("p2", link=[back]))
    page = await server.get(
        "/Patient?_id=p1&_include:iterate=Patient:link&_revinclude:iterate=Patient:link"
    )
    assert sorted(page.names) == ["Patient/p1", "Patient/p2"]


async def test_a_search_parameter_that_cannot_be_read_is_refused(server: FhirServer) -> None:
    own = {
        "resourceType": "SearchParameter",
        "id": "s",
        "url": "urn:s",
        "name": "S",
        "status": "active",
        "description": "x",
        "code": "s",
        "base": ["Patient"],
        "type": "string",
        "expression": "Patient.((",
    }
    answer = await server.put("/SearchParameter/s", own)
    assert answer.status in (400, 422)
    assert await server.rows() == {}
