"""$validate, $meta, $meta-add and $meta-delete (resource-operations.html)."""

from typing import Any

import pytest

from tests.rest.server import FhirServer, patient

ONE = "/Patient/p1"
A, B = {"system": "urn:t", "code": "a"}, {"system": "urn:t", "code": "b"}


def parameters(**entries: Any) -> dict[str, Any]:
    """A Parameters resource; a value is a whole entry without its name."""
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": name, **value} for name, value in entries.items()],
    }


def labels(**meta: Any) -> dict[str, Any]:
    return parameters(meta={"valueMeta": meta})


async def test_validate_says_that_all_is_well(server: FhirServer) -> None:
    for body in (
        patient(),
        {"resourceType": "Patient"},
        parameters(resource={"resource": patient()}, mode={"valueCode": "create"}),
    ):
        answer = await server.post("/Patient/$validate", body)
        assert answer.status == 200
        assert [issue["severity"] for issue in answer.json["issue"]] == ["information"]
    assert await server.rows() == {}


async def test_validate_names_every_element_that_is_wrong_with_200(server: FhirServer) -> None:
    bad = patient(active="x", birthDate="y")
    for body in (bad, parameters(resource={"resource": bad})):
        answer = await server.post("/Patient/$validate", body)
        assert answer.status == 200
        found = {issue["expression"][0] for issue in answer.json["issue"]}
        assert found == {"Patient.active", "Patient.birthDate"}
    broken = await server.post("/Patient/$validate", b'{"resourceType":"Patient",')
    assert (broken.status, broken.issue["severity"]) == (200, "error")


async def test_validate_on_an_instance_looks_at_the_id(server: FhirServer) -> None:
    answer = await server.post(f"{ONE}/$validate", patient("p2"))
    assert answer.issue["expression"] == ["Resource.id"]
    fine = await server.post(f"{ONE}/$validate", patient("p1"))
    assert fine.issue["severity"] == "information"


async def test_validate_without_a_resource_looks_at_what_is_stored(server: FhirServer) -> None:
    assert (await server.get(f"{ONE}/$validate")).status == 404
    await server.put(ONE, patient())
    assert (await server.get(f"{ONE}/$validate")).issue["severity"] == "information"
    assert (await server.post("/Patient/$validate", b"")).status == 400
    deletion = await server.get(f"{ONE}/$validate?mode=delete")
    assert deletion.issue["severity"] == "information"


@pytest.mark.parametrize(
    ("query", "entries"),
    [
        ("?profile=urn:p", {}),
        ("", {"profile": {"valueUri": "urn:p"}}),
        ("?mode=guess", {}),
        ("", {"other": {"valueCode": "x"}}),
    ],
)
async def test_validate_refuses_what_it_does_not_do(
    server: FhirServer, query: str, entries: dict[str, Any]
) -> None:
    body = parameters(resource={"resource": patient()}, **entries)
    answer = await server.post(f"/Patient/$validate{query}", body)
    assert answer.status == 400
    assert answer.issue["expression"]


async def test_meta_is_that_of_a_version(server: FhirServer) -> None:
    await server.put(ONE, patient(meta={"tag": [A]}))
    await server.put(ONE, patient(meta={"tag": [B]}))
    answer = await server.get(f"{ONE}/$meta")
    (entry,) = answer.json["parameter"]
    assert (entry["name"], entry["valueMeta"]["tag"]) == ("return", [B])
    assert entry["valueMeta"]["versionId"] == "2"
    before = await server.get(f"{ONE}/_history/1/$meta")
    assert before.json["parameter"][0]["valueMeta"]["tag"] == [A]
    assert (await server.get("/Patient/none/$meta")).status == 404


async def test_meta_add_adds_what_is_not_there(server: FhirServer) -> None:
    await server.put(ONE, b'{"resourceType":"Patient","id":"p1","meta":{"tag":[{"system":"urn:t",'
                          b'"code":"a","display":"\\u00e9"}]},"extension":[{"url":"urn:x",'
                          b'"valueDecimal":1.00}]}')  # fmt: skip
    answer = await server.post(f"{ONE}/$meta-add", labels(tag=[A, B], profile=["urn:p"]))
    assert answer.status == 200
    meta = answer.json["parameter"][0]["valueMeta"]
    assert [tag["code"] for tag in meta["tag"]] == ["a", "b"]
    assert meta["profile"] == ["urn:p"]
    assert meta["versionId"] == "2"
    stored = (await server.get(ONE)).body
    assert b"1.00" in stored
    assert b'"\\u00e9"' in stored
    again = await server.post(f"{ONE}/$meta-add", labels(tag=[B], profile=["urn:p"]))
    assert again.etag == 'W/"2"'


async def test_meta_delete_takes_away_what_is_there(server: FhirServer) -> None:
    await server.put(ONE, patient(meta={"tag": [A, B], "security": [A], "source": "urn:s"}))
    answer = await server.post(
        f"{ONE}/$meta-delete", labels(tag=[{**A, "display": "x"}], security=[A])
    )
    meta = answer.json["parameter"][0]["valueMeta"]
    assert meta["tag"] == [B]
    assert "security" not in meta
    assert meta["source"] == "urn:s"
    nothing = await server.post(f"{ONE}/$meta-delete", labels(tag=[A]))
    assert nothing.etag == 'W/"2"'


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {"resourceType": "Patient"},
        {"resourceType": "Parameters"},
        parameters(meta={}),
        parameters(meta={"valueMeta": 5}),
        labels(tag="x"),
        labels(tag=[5]),
        labels(profile=[5]),
    ],
)
async def test_a_meta_that_is_none_changes_nothing(server: FhirServer, body: Any) -> None:
    await server.put(ONE, patient())
    for operation in ("$meta-add", "$meta-delete"):
        answer = await server.post(f"{ONE}/{operation}", body)
        assert answer.status in (200, 400, 422), answer.body
        assert operation == "$meta-delete" or answer.status != 200
    assert (await server.get(ONE)).etag == 'W/"1"'


async def test_meta_add_looks_at_if_match(server: FhirServer) -> None:
    await server.put(ONE, patient())
    answer = await server.post(f"{ONE}/$meta-add", labels(tag=[A]), If_Match='W/"9"')
    assert answer.status == 412
