"""JSON Patch over HTTP (http.html#patch)."""

from typing import Any

import pytest
import trio

from tests.rest.server import FHIR_JSON, FhirServer, patient

ONE = "/Patient/p1"


async def test_a_patch_makes_a_version_and_keeps_the_rest(server: FhirServer) -> None:
    await server.put(ONE, patient(active=False, name=[{"family": "A"}]))
    patch = [
        {"op": "test", "path": "/active", "value": False},
        {"op": "replace", "path": "/active", "value": True},
        {"op": "add", "path": "/name/-", "value": {"family": "B"}},
    ]
    answer = await server.patch(ONE, patch)
    assert (answer.status, answer.etag) == (200, 'W/"2"')
    assert answer.json["active"] is True
    assert [name["family"] for name in answer.json["name"]] == ["A", "B"]
    assert (await server.get(f"{ONE}/_history/1")).json["active"] is False


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        ([{"op": "test", "path": "/active", "value": True}], 422),
        ([{"op": "remove", "path": "/birthDate"}], 422),
        ([{"op": "add", "path": "/nickname", "value": "x"}], 422),
        ([{"op": "replace", "path": "/active", "value": "yes"}], 422),
        ([{"op": "replace", "path": "/id", "value": "p2"}], 400),
        ([{"op": "replace", "path": "/resourceType", "value": "Basic"}], 400),
        ([{"op": "fly", "path": "/active"}], 400),
        ({"op": "remove", "path": "/active"}, 400),
        (b"[", 400),
    ],
)
async def test_a_patch_that_does_not_fit_changes_nothing(
    server: FhirServer, patch: Any, status: int
) -> None:
    await server.put(ONE, patient(active=False))
    answer = await server.patch(ONE, patch)
    assert answer.status == status, answer.body
    assert answer.issue["diagnostics"]
    assert (await server.get(ONE)).etag == 'W/"1"'


async def test_if_match_is_looked_at_before_the_patch(server: FhirServer) -> None:
    await server.put(ONE, patient())
    answer = await server.patch(ONE, [{"op": "remove", "path": "/active"}], If_Match='W/"7"')
    assert answer.status == 412


async def test_a_patch_of_what_is_not_there_is_refused(server: FhirServer) -> None:
    assert (await server.patch(ONE, [])).status == 404
    await server.put(ONE, patient())
    await server.delete(ONE)
    assert (await server.patch(ONE, [])).status == 410


async def test_a_patch_of_another_kind_is_refused_by_its_type(server: FhirServer) -> None:
    await server.put(ONE, patient())
    answer = await server.patch(ONE, {"resourceType": "Parameters"}, Content_Type=FHIR_JSON)
    assert answer.status == 415
    assert "FHIRPath" in answer.issue["diagnostics"]


async def test_patches_at_once_lose_none(server: FhirServer) -> None:
    await server.put(ONE, patient(name=[{"family": "A"}]))
    add = [{"op": "add", "path": "/name/-", "value": {"family": "B"}}]
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(server.patch, ONE, add)
    stored = await server.stored("Patient", "p1")
    assert len(stored["name"]) == 21
    assert stored["meta"]["versionId"] == "21"
