"""Rules of http.html that no other file here is about. docs/conformance.md names them all."""

import re
from pathlib import Path

import pytest

from tests.rest.server import FHIR_JSON, FhirServer, patient

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"
ONE = "/Patient/p1"


async def test_an_update_without_an_id_in_the_body_is_refused(server: FhirServer) -> None:
    answer = await server.put(ONE, {"resourceType": "Patient"})
    assert (answer.status, answer.issue["expression"]) == (400, ["Resource.id"])
    assert await server.stored("Patient", "p1") is None


async def test_another_release_of_fhir_is_refused(server: FhirServer) -> None:
    for version in ("4.0", '"4.0"', "4.0.1"):
        named = f"{FHIR_JSON}; fhirVersion={version}"
        assert (await server.put(ONE, patient(), Content_Type=named)).status in (200, 201)
        assert (await server.get(ONE, Accept=named)).status == 200
    for version in ("3.0", "4.3", "5.0"):
        named = f"{FHIR_JSON}; fhirVersion={version}"
        assert (await server.put(ONE, patient(), Content_Type=named)).status == 415
        assert (await server.get(ONE, Accept=named)).status == 406
        assert (await server.get(ONE, Accept=f"{named}, {FHIR_JSON};q=0.5")).status == 200
    assert (await server.get(ONE)).etag == 'W/"3"'


async def test_the_statement_of_each_mode_but_terminology_is_the_same(server: FhirServer) -> None:
    whole = await server.get("/metadata")
    for mode in ("full", "normative"):
        assert (await server.get(f"/metadata?mode={mode}")).body == whole.body
    refused = await server.get("/metadata?mode=terminology")
    assert (refused.status, refused.issue["expression"]) == (400, ["mode"])


@pytest.mark.parametrize("path", ["/Patient/_history", "/Patient/p1", "/Patient", "/metadata"])
async def test_a_parameter_without_a_name_has_no_empty_expression(
    server: FhirServer, path: str
) -> None:
    await server.put(ONE, patient())
    answer = await server.get(f"{path}?=1", Prefer="handling=strict")
    assert answer.status == 400
    assert "expression" not in answer.issue


async def test_the_name_of_an_unknown_parameter_is_cut_in_a_message(server: FhirServer) -> None:
    for path in ("/Patient/_history", "/Patient/p1", "/Patient/p1/$everything"):
        answer = await server.get(f"{path}?{'x' * 5000}=1")
        assert answer.status == 400
        assert len(answer.body) < 1000


def test_every_test_that_the_page_names_is_there() -> None:
    names = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", PAGE.read_text())
    assert len(names) > 50
    missing = [
        f"{file}::{name}"
        for file, name in names
        if f"def {name}(" not in (ROOT / "tests" / file).read_text()
    ]
    assert missing == []
