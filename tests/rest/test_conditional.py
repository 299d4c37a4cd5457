"""Conditional forms and their races (http.html#ccreate, #cond-update, #cond-delete, #patch)."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
import trio

from tests.rest.server import SETTINGS, Answer, FhirServer, identified, patient

MRN = "identifier=urn:mrn|1"
AT_ONCE = 50
ACTIVE = [{"op": "add", "path": "/active", "value": True}]


async def test_a_conditional_create_writes_only_if_nothing_matches(server: FhirServer) -> None:
    made = await server.post("/Patient", identified("1"), If_None_Exist=MRN)
    again = await server.post("/Patient", identified("1", active=True), If_None_Exist=MRN)
    assert (made.status, again.status) == (201, 200)
    assert again.headers["Location"] == made.headers["Location"]
    assert again.json == made.json
    assert await server.rows() == {"Patient": 1}


async def test_a_conditional_create_is_refused_if_several_match(server: FhirServer) -> None:
    for _ in range(2):
        await server.post("/Patient", identified("1"))
    answer = await server.post("/Patient", identified("1"), If_None_Exist=MRN)
    assert answer.status == 412
    assert answer.issue["code"] == "multiple-matches"
    assert await server.rows() == {"Patient": 2}


async def test_a_conditional_update_without_match_or_id_creates(server: FhirServer) -> None:
    answer = await server.put(f"/Patient?{MRN}", identified("1"))
    assert (answer.status, answer.etag) == (201, 'W/"1"')
    assert len(answer.json["id"]) == 36


async def test_a_conditional_update_without_match_creates_at_a_new_id(server: FhirServer) -> None:
    answer = await server.put(f"/Patient?{MRN}", identified("1", id="mine"))
    assert (answer.status, answer.json["id"]) == (201, "mine")


async def test_a_conditional_update_without_match_leaves_an_id_that_is_taken(
    server: FhirServer,
) -> None:
    await server.put("/Patient/mine", patient("mine"))
    answer = await server.put(f"/Patient?{MRN}", identified("1", id="mine"))
    assert answer.status == 409
    assert (await server.get("/Patient/mine")).etag == 'W/"1"'


@pytest.mark.parametrize("members", [{}, {"id": "mine"}])
async def test_a_conditional_update_of_one_match_updates_it(
    server: FhirServer, members: dict[str, str]
) -> None:
    await server.put("/Patient/mine", identified("1", id="mine"))
    answer = await server.put(f"/Patient?{MRN}", identified("1", active=True, **members))
    assert (answer.status, answer.etag, answer.json["id"]) == (200, 'W/"2"', "mine")
    assert await server.rows() == {"Patient": 1}


async def test_a_conditional_update_of_a_match_with_another_id_is_refused(
    server: FhirServer,
) -> None:
    await server.put("/Patient/mine", identified("1", id="mine"))
    answer = await server.put(f"/Patient?{MRN}", identified("1", id="other"))
    assert answer.status == 400
    assert answer.issue["expression"] == ["Patient.id"]
    assert await server.rows() == {"Patient": 1}


async def test_a_conditional_update_of_several_matches_is_refused(server: FhirServer) -> None:
    for _ in range(2):
        await server.post("/Patient", identified("1"))
    assert (await server.put(f"/Patient?{MRN}", identified("1"))).status == 412


async def test_a_conditional_update_looks_at_if_match(server: FhirServer) -> None:
    await server.put(f"/Patient?{MRN}", identified("1"))
    late = await server.put(f"/Patient?{MRN}", identified("1"), If_Match='W/"7"')
    assert late.status == 412
    sound = await server.put(f"/Patient?{MRN}", identified("1"), If_Match='W/"1"')
    assert sound.etag == 'W/"2"'


async def test_a_conditional_patch_changes_the_only_match(server: FhirServer) -> None:
    none = await server.patch(f"/Patient?{MRN}", ACTIVE)
    assert none.status == 404
    await server.put("/Patient/mine", identified("1", id="mine"))
    one = await server.patch(f"/Patient?{MRN}", ACTIVE)
    assert (one.status, one.json["active"], one.etag) == (200, True, 'W/"2"')
    await server.put("/Patient/other", identified("1", id="other"))
    assert (await server.patch(f"/Patient?{MRN}", ACTIVE)).status == 412


async def test_a_conditional_delete_takes_all_matches_up_to_the_limit(server: FhirServer) -> None:
    for value in ("1", "1", "2"):
        await server.post("/Patient", identified(value))
    answer = await server.delete(f"/Patient?{MRN}", Prefer="return=OperationOutcome")
    assert "2 resources" in answer.issue["diagnostics"]
    assert await server.rows() == {"Patient": 1}
    assert (await server.delete(f"/Patient?{MRN}")).status == 204
    strict = FhirServer.of(
        server.ports, msgspec.structs.replace(SETTINGS, conditional_delete_max=1)
    )
    await server.post("/Patient", identified("2"))
    answer = await strict.delete("/Patient?identifier=2")
    assert answer.status == 412
    assert await server.rows() == {"Patient": 2}


async def test_criteria_that_are_not_understood_change_nothing(server: FhirServer) -> None:
    await server.put("/Patient/p1", patient())
    for query in ("", "?", "?nickname=x", "?identifier=", "?_sort=name", "?birthdate=x"):
        for method in ("PUT", "PATCH", "DELETE"):
            headers = {"Content_Type": "application/json-patch+json"} if method == "PATCH" else {}
            body = {"PUT": identified("1"), "PATCH": ACTIVE}.get(method)
            answer = await server.ask(method, f"/Patient{query}", body, **headers)
            assert answer.status == 400, (method, query)
    for criteria in ("", "nickname=x", "identifier="):
        answer = await server.post("/Patient", identified("1"), If_None_Exist=criteria)
        assert answer.status == 400, criteria
    assert await server.rows() == {"Patient": 1}
    assert (await server.get("/Patient/p1")).etag == 'W/"1"'


async def together(count: int, ask: Callable[[int], Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """That many requests at the same time."""
    answers = []

    async def one(number: int) -> None:
        answers.append(await ask(number))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return answers


async def test_creates_at_once_with_one_criterion_make_one_resource(server: FhirServer) -> None:
    answers = await together(
        AT_ONCE, lambda _: server.post("/Patient", identified("1"), If_None_Exist=MRN)
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 200: AT_ONCE - 1}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert await server.rows() == {"Patient": 1}


async def test_conditional_updates_at_once_make_one_resource(server: FhirServer) -> None:
    answers = await together(
        AT_ONCE, lambda n: server.put(f"/Patient?{MRN}", identified("1", gender="other"))
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 200: AT_ONCE - 1}
    assert await server.rows() == {"Patient": 1}
    versions = sorted(int(answer.etag[3:-1]) for answer in answers)
    assert versions == list(range(1, AT_ONCE + 1))


async def test_updates_at_once_with_if_match_lose_none(server: FhirServer) -> None:
    await server.put("/Patient/p1", patient(multipleBirthInteger=0))

    async def count_up(_: int) -> Answer:
        while True:
            seen = await server.get("/Patient/p1")
            number = seen.json["multipleBirthInteger"] + 1
            body = patient(multipleBirthInteger=number)
            answer = await server.put("/Patient/p1", body, If_Match=seen.etag)
            if answer.status != 412:
                return answer

    answers = await together(AT_ONCE, count_up)
    assert {answer.status for answer in answers} == {200}
    stored = await server.stored("Patient", "p1")
    assert stored["multipleBirthInteger"] == AT_ONCE
    assert stored["meta"]["versionId"] == str(AT_ONCE + 1)
