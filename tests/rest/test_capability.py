"""The CapabilityStatement says what the server does, and no more."""

from pathlib import Path
from typing import Any

from engine.fhir.types import STORED_TYPES
from tests.rest.server import BASE, FhirServer, patient

ROOT = Path(__file__).resolve().parents[2]


async def statement(server: FhirServer, path: str = "/metadata") -> Any:
    return (await server.get(path)).json


def resource_of(data: Any, type: str) -> Any:
    return next(one for one in data["rest"][0]["resource"] if one["type"] == type)


async def test_it_is_a_sound_resource_of_all_types(server: FhirServer) -> None:
    data = await statement(server)
    checked = await server.post("/CapabilityStatement/$validate", data)
    assert [issue["severity"] for issue in checked.json["issue"]] == ["information"], checked.body
    assert {one["type"] for one in data["rest"][0]["resource"]} == STORED_TYPES
    assert data["implementation"]["url"] == BASE


async def test_it_names_the_interactions_that_are_wired(server: FhirServer) -> None:
    data = await statement(server)
    one = resource_of(data, "Observation")
    assert {entry["code"] for entry in one["interaction"]} == {
        "read", "vread", "update", "patch", "delete", "history-instance", "history-type",
        "create", "search-type",
    }  # fmt: skip
    system = {entry["code"] for entry in data["rest"][0]["interaction"]}
    assert {"search-system", "history-system"} <= system
    wired = any(
        rule.rule == "/fhir" and "POST" in (rule.methods or ())
        for rule in server.app.url_map.iter_rules()
    )
    assert ("transaction" in system) is wired
    assert one["conditionalDelete"] == "multiple"
    assert one["versioning"] == "versioned-update"


async def test_it_says_that_references_are_not_enforced(server: FhirServer) -> None:
    for one in (await statement(server))["rest"][0]["resource"]:
        assert "enforced" not in one["referencePolicy"]
        assert "resolves" not in one["referencePolicy"]


async def test_every_parameter_that_it_names_is_taken(server: FhirServer) -> None:
    one = resource_of(await statement(server), "Patient")
    named = {parameter["name"]: parameter["type"] for parameter in one["searchParam"]}
    assert {"family", "birthdate", "identifier", "_id", "_lastUpdated", "_tag"} <= set(named)
    assert not {"_text", "_content", "_filter"} & set(named)
    for name in named:
        answer = await server.get(f"/Patient?{name}:missing=true", Prefer="handling=strict")
        assert answer.status == 200 or name.startswith("_"), (name, answer.body)
    for include in one["searchInclude"][1:]:
        answer = await server.get(f"/Patient?_include={include}", Prefer="handling=strict")
        assert answer.status == 200, include


async def test_it_names_operations_where_they_are(server: FhirServer) -> None:
    data = await statement(server)
    patients = {one["name"] for one in resource_of(data, "Patient")["operation"]}
    assert patients == {"validate", "meta", "meta-add", "meta-delete", "everything"}
    others = {one["name"] for one in resource_of(data, "Basic")["operation"]}
    assert others == patients - {"everything"}
    assert [one["name"] for one in data["rest"][0]["operation"]] == ["export"]


async def test_the_page_names_every_operation_and_interaction(server: FhirServer) -> None:
    page = (ROOT / "docs" / "rest.md").read_text()
    rest = (await statement(server))["rest"][0]
    operations = {one["name"] for of in rest["resource"] for one in of["operation"]}
    for name in operations:
        assert f"`${name}`" in page, name
    for code in {one["code"] for of in rest["resource"] for one in of["interaction"]}:
        assert code.partition("-")[0] in page, code
    for one in rest["interaction"]:
        assert one["code"].partition("-")[0] in page, one


async def test_a_tenants_own_parameter_is_named_there_alone(server: FhirServer) -> None:
    own = {
        "resourceType": "SearchParameter",
        "id": "shoe",
        "url": "urn:shoe",
        "name": "Shoe",
        "status": "active",
        "description": "x",
        "code": "shoe-size",
        "base": ["Patient"],
        "type": "string",
        "expression": "Patient.extension('urn:shoe').value",
    }
    assert (await server.put("/SearchParameter/shoe", own)).status == 201
    extension = [{"url": "urn:shoe", "valueString": "large"}]
    await server.put("/Patient/p1", patient(extension=extension))
    here = resource_of(await statement(server), "Patient")["searchParam"]
    assert "shoe-size" in {one["name"] for one in here}
    there = resource_of(await statement(server, "/fhir/acme/metadata"), "Patient")["searchParam"]
    assert "shoe-size" not in {one["name"] for one in there}
    found = await server.get("/Patient?shoe-size=large", Prefer="handling=strict")
    # A store may ask to index what it holds before it answers; it never answers wrongly.
    assert found.names == ["Patient/p1"] or "reindex" in found.issue["diagnostics"], found.body
