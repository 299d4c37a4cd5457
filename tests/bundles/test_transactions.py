"""Transactions over HTTP, by the rules of FHIR R4 http.html#transaction."""

import random

import pytest
import trio

from tests.bundles.server import (
    bundle,
    entry,
    name_of,
    patch,
    post,
    put,
    statuses,
    stored,
    transact,
    urn,
)
from tests.rest.server import BASE, identified, observation, patient


async def test_creates_and_answers_in_the_order_of_the_request(server):
    answer = await transact(
        server,
        post(observation("x", urn(1)), urn(2)),
        post(patient("y"), urn(1)),
    )
    assert answer.json["type"] == "transaction-response"
    assert statuses(answer) == ["201", "201"]
    first = answer.json["entry"][0]["response"]
    assert first["location"].startswith(f"{BASE}/Observation/") and first["etag"] == 'W/"1"'
    assert first["lastModified"].endswith("Z") and "resource" not in answer.json["entry"][0]
    written = await stored(server, answer, 0)
    assert written["subject"]["reference"] == name_of(answer, 1)
    assert written["id"] not in ("x", "y")  # the server gives the ids


async def test_does_deletions_first_then_creates_updates_and_patches_and_reads_last(server):
    await server.put("/Patient/old", identified("1", id="old"))
    await server.put("/Patient/p", patient("p"))
    answer = await transact(
        server,
        entry("GET", "Patient/p"),
        entry("GET", "Patient?identifier=urn:mrn|1"),
        patch("Patient/p", {"op": "add", "path": "/active", "value": True}),
        put(patient("q")),
        post(identified("1"), ifNoneExist="identifier=urn:mrn|1"),
        entry("DELETE", "Patient/old"),
    )
    assert statuses(answer) == ["200", "200", "200", "201", "201", "204"]
    read, found = (one["resource"] for one in answer.json["entry"][:2])
    assert read["active"] is True and read["meta"]["versionId"] == "2"
    assert [one["resource"]["id"] for one in found["entry"]] == [name_of(answer, 4).split("/")[1]]


async def test_one_entry_that_fails_leaves_nothing(server):
    answer = await transact(
        server,
        post(patient()),
        put(patient("p2")),
        put(patient("p3"), ifMatch='W/"7"'),
        entry("DELETE", "Patient/p9"),
    )
    assert answer.status == 412
    assert answer.issue["expression"] == ["Bundle.entry[2]"]
    assert answer.issue["diagnostics"].startswith("Bundle.entry[2]: ")
    assert await server.rows() == {}


@pytest.mark.parametrize(
    ("broken", "status", "expression"),
    [
        (put({**patient("a"), "birthDate": "x"}), 422, "Bundle.entry[1].resource.birthDate"),
        (put({**patient("a"), "nonsense": 1}), 422, "Bundle.entry[1].resource"),
        (entry("PUT", "Patient/b", patient("a")), 400, "Bundle.entry[1].resource.id"),
        (entry("PUT", "Patient/b", {"resourceType": "Patient"}), 400, None),
        (entry("PUT", "Patient", patient("a")), 400, "Bundle.entry[1].request.url"),
        (entry("POST", "Patient/a", patient("a")), 400, "Bundle.entry[1].request.url"),
        (entry("POST", "Observation", patient("a")), 400, "Bundle.entry[1].resource"),
        (entry("POST", "Patient"), 400, "Bundle.entry[1].resource"),
        (entry("DELETE", "Patient"), 400, "Bundle.entry[1].request.url"),
        (entry("LOOK", "Patient/a"), 400, "Bundle.entry[1].request.method"),
        (entry("PUT", "Nothing/a", patient("a")), 400, "Bundle.entry[1].request.url"),
        (entry("PUT", "https://other.example/Patient/a", patient("a")), 400, None),
        (entry("PUT", "Patient/a_b", patient("a")), 400, "Bundle.entry[1].request.url"),
        (entry("POST", "Patient/$validate", patient("a")), 400, "Bundle.entry[1].request.url"),
        (entry("GET", "$export"), 400, "Bundle.entry[1].request.url"),
        (put(patient("a"), ifMatch="three"), 400, None),
        (post(patient("a"), ifNoneExist="nonsense=1"), 400, None),
        (entry("PATCH", "Patient/a", {"resourceType": "Parameters"}), 400, None),
        (entry("PATCH", "Patient/a", {"resourceType": "Binary", "data": "%"}), 400, None),
        (patch("Patient/a", {"op": "remove", "path": "/active"}), 404, "Bundle.entry[1]"),
        (patch("Patient?_id=a", {"op": "remove", "path": "/active"}), 404, "Bundle.entry[1]"),
        (entry("GET", "Patient/a"), 404, "Bundle.entry[1]"),
        ({"resource": patient("a")}, 400, "Bundle.entry[1].request"),
    ],
    ids=str,
)
async def test_what_is_wrong_names_its_entry(server, broken, status, expression):
    answer = await transact(server, post(patient()), broken)
    assert (answer.status, await server.rows()) == (status, {})
    found = answer.issue["expression"][0]
    assert found.startswith("Bundle.entry[1]") and expression in (found, None)


@pytest.mark.parametrize(
    "pair",
    [
        (put(patient("a")), put(patient("a"))),
        (put(patient("a")), entry("DELETE", "Patient/a")),
        (put(patient("a")), patch("Patient/a", {"op": "remove", "path": "/active"})),
        (put(patient("there")), entry("PUT", "Patient?identifier=urn:mrn|1", identified("1"))),
        (
            entry("PUT", "Patient?identifier=urn:mrn|2", identified("2")),
            entry("PUT", "Patient?identifier=urn:mrn|2", identified("2")),
        ),
        (post(patient("a"), urn(1)), post(patient("b"), urn(1))),
    ],
    ids=str,
)
async def test_one_resource_twice_is_refused(server, pair):
    await server.put("/Patient/there", identified("1", id="there"))
    answer = await transact(server, *pair)
    assert answer.status == 400
    assert "Bundle.entry[0]" in answer.issue["diagnostics"]
    assert await server.rows() == {"Patient": 1}


# Conditional forms.


async def test_creates_only_what_does_not_exist(server):
    await server.put("/Patient/there", identified("1", id="there"))
    answer = await transact(
        server,
        post(identified("1"), urn(1), ifNoneExist="identifier=urn:mrn|1"),
        post(identified("2"), urn(2), ifNoneExist="identifier=urn:mrn|2"),
        post(observation("o", urn(1))),
        post(observation("o", urn(2))),
    )
    assert statuses(answer) == ["200", "201", "201", "201"]
    assert (await stored(server, answer, 2))["subject"]["reference"] == "Patient/there"
    assert (await stored(server, answer, 3))["subject"]["reference"] == name_of(answer, 1)


async def test_equal_conditional_creates_make_one_resource(server):
    one = post(identified("1"), ifNoneExist="identifier=urn:mrn|1")
    answer = await transact(
        server,
        one,
        {**one, "fullUrl": urn(2)},
        post(observation("o", urn(2))),
    )
    assert statuses(answer) == ["201", "200", "201"]
    assert name_of(answer, 0) == name_of(answer, 1)
    assert (await stored(server, answer, 2))["subject"]["reference"] == name_of(answer, 0)


async def test_conditional_updates_and_deletes_find_their_resource(server):
    await server.put("/Patient/there", identified("1", id="there"))
    await server.put("/Patient/gone", identified("3", id="gone"))
    answer = await transact(
        server,
        entry("PUT", "Patient?identifier=urn:mrn|1", identified("1"), full_url=urn(1)),
        entry("PUT", "Patient?identifier=urn:mrn|2", identified("2", id="new")),
        entry("DELETE", "Patient?identifier=urn:mrn|3"),
        post(observation("o", urn(1))),
    )
    assert statuses(answer) == ["200", "201", "204", "201"]
    assert name_of(answer, 0) == "Patient/there" and name_of(answer, 1) == "Patient/new"
    assert await server.stored("Patient", "gone") is None
    assert (await stored(server, answer, 3))["subject"]["reference"] == "Patient/there"


async def test_a_criterion_that_another_entry_would_match_too_fails(server):
    conditional = post(identified("1"), ifNoneExist="identifier=urn:mrn|1")
    for entries in ((post(identified("1")), conditional), (conditional, post(identified("1")))):
        answer = await transact(server, *entries)
        assert answer.status == 412
        assert await server.rows() == {}


async def test_criteria_may_name_another_entry(server):
    await server.put("/Patient/there", identified("1", id="there"))
    await server.put("/Observation/seen", observation("seen", "Patient/there"))
    answer = await transact(
        server,
        post(observation("o", urn(1)), urn(2), ifNoneExist=f"subject={urn(1)}"),
        post(identified("1"), urn(1), ifNoneExist="identifier=urn:mrn|1"),
    )
    assert statuses(answer) == ["200", "200"]
    assert name_of(answer, 0) == "Observation/seen"


async def test_criteria_in_a_circle_are_refused(server):
    answer = await transact(
        server,
        post(observation("a"), urn(1), ifNoneExist=f"has-member={urn(2)}"),
        post(observation("b"), urn(2), ifNoneExist=f"has-member={urn(1)}"),
    )
    assert answer.status == 400 and "circle" in answer.issue["diagnostics"]
    assert await server.rows() == {}


@pytest.mark.parametrize("clients", [50])
async def test_parallel_transactions_create_one_resource(server, clients):
    answers = []

    async def send() -> None:
        answers.append(
            await transact(
                server,
                post(identified("1"), urn(1), ifNoneExist="identifier=urn:mrn|1"),
                post(observation("o", urn(1))),
            )
        )

    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(send)
    assert await server.rows() == {"Patient": 1, "Observation": clients}
    assert sorted(statuses(answer)[0] for answer in answers) == ["200"] * (clients - 1) + ["201"]
    (name,) = {name_of(answer, 0) for answer in answers}
    for answer in answers:
        assert (await stored(server, answer, 1))["subject"]["reference"] == name


# Conditional references.


async def test_conditional_references_are_resolved_in_the_store_and_in_the_bundle(server):
    await server.put("/Patient/there", identified("1", id="there"))
    answer = await transact(
        server,
        post(observation("a", "Patient?identifier=urn:mrn|1")),
        post(observation("b", "Patient?identifier=urn:mrn|2")),
        post(identified("2")),
    )
    assert statuses(answer) == ["201"] * 3
    assert (await stored(server, answer, 0))["subject"]["reference"] == "Patient/there"
    assert (await stored(server, answer, 1))["subject"]["reference"] == name_of(answer, 2)


async def test_a_conditional_reference_may_wait_for_another(server):
    person = identified("1", managingOrganization={"reference": "Organization?name=x"})
    answer = await transact(
        server,
        post(observation("a", "Patient?organization.name=x")),
        post(person),
        post({"resourceType": "Organization", "name": "x"}),
    )
    assert (await stored(server, answer, 0))["subject"]["reference"] == name_of(answer, 1)
    assert (await stored(server, answer, 1))["managingOrganization"]["reference"] == name_of(
        answer, 2
    )


async def test_conditional_references_without_one_meaning_fail(server):
    for id in ("one", "two"):
        await server.put(f"/Patient/{id}", identified("1", id=id))
    for criteria in ("identifier=urn:mrn|1", "identifier=urn:mrn|9"):
        answer = await transact(
            server, post(patient()), post(observation("a", f"Patient?{criteria}"))
        )
        assert answer.status == 412
        assert answer.issue["expression"] == ["Bundle.entry[1]"]
        assert "mrn" not in answer.issue["diagnostics"]  # content of the resource
    assert await server.rows() == {"Patient": 2}


async def test_conditional_references_in_a_circle_fail(server):
    def waiting(value: str, other: str):
        return post(identified(value, link=[_link(f"Patient?identifier=urn:mrn|{other}")]))

    answer = await transact(server, waiting("1", "2"), waiting("2", "1"))
    assert answer.status == 412 and "circle" in answer.issue["diagnostics"]
    answer = await transact(server, waiting("1", "1"))
    assert answer.status == 412
    assert await server.rows() == {}


def _link(reference: str):
    return {"other": {"reference": reference}, "type": "seealso"}


# References to versions.


async def test_a_reference_is_made_one_to_the_new_version(server):
    await server.put("/Patient/p", patient("p"))
    marked = {
        "reference": "Patient/p",
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific",
                "valueBoolean": True,
            }
        ],
    }
    answer = await transact(
        server,
        post({**observation("o"), "subject": marked}),
        put(patient("p", active=True)),
        post({**observation("n"), "subject": {**marked, "reference": urn(3)}}),
        post(patient(), urn(3)),
    )
    first, second = await stored(server, answer, 0), await stored(server, answer, 2)
    assert first["subject"] == {"reference": "Patient/p/_history/2"}
    assert second["subject"] == {"reference": f"{name_of(answer, 3)}/_history/1"}


async def test_a_reference_to_a_version_of_what_is_created_means_the_new_one(server):
    old = "http://source.example/fhir/Patient/7"
    answer = await transact(
        server,
        post(observation("o", f"{old}/_history/3")),
        post(patient("7"), old),
    )
    reference = (await stored(server, answer, 0))["subject"]["reference"]
    assert reference == f"{name_of(answer, 1)}/_history/1"


# The frame.


async def test_the_client_may_ask_for_the_resources_or_for_outcomes(server):
    answer = await transact(server, post(patient()), Prefer="return=representation")
    (made,) = answer.json["entry"]
    assert made["fullUrl"].startswith(f"{BASE}/Patient/")
    assert made["resource"]["meta"]["versionId"] == "1"
    answer = await transact(server, post(patient()), Prefer="return=OperationOutcome")
    outcome = answer.json["entry"][0]["response"]["outcome"]
    assert outcome["resourceType"] == "OperationOutcome"


async def test_an_empty_transaction_is_done_at_once(server):
    answer = await server.post("", b'{"resourceType":"Bundle","type":"transaction"}')
    assert answer.status == 200 and "entry" not in answer.json


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bundle("collection"), 400),
        (b'{"resourceType":"Patient"}', 400),
        (b'{"resourceType":"Bundle","type":"transaction","entry":1}', 400),
        (b'{"resourceType":"Bundle","type":["batch"]}', 400),
        (b'{"resourceType":', 400),
        (b'{"resourceType":"Bundle","type":"batch","entry":[1]}', 200),
    ],
)
async def test_other_bodies_are_refused(server, body, status):
    answer = await server.post("", body)
    assert answer.status == status
    if status == 200:
        assert answer.json["entry"][0]["response"]["status"] == "400 Bad Request"
    else:
        assert answer.issue["severity"] == "error"


async def test_bytes_of_a_resource_stay_as_they_were_sent(server):
    text = (
        b'{"resourceType":"Observation","id":"o","status":"final","code":{"text":"a\\u00e9\\/b"},'
        b'"subject":{"reference":"%b"},"valueQuantity":{"value":1.500}}'
    )
    whole = b'{"resourceType":"Bundle","type":"transaction","entry":[{"resource":%b,%b}]}' % (
        text % b"Patient/p",
        b'"request":{"method":"PUT","url":"Observation/o"}',
    )
    assert (await server.post("", whole)).status == 200
    body = (await (await server.store()).read("Observation", "o")).body
    assert b'"code":{"text":"a\\u00e9\\/b"}' in body and b'"value":1.500}' in body


@pytest.mark.parametrize("seed", range(4))
async def test_the_order_of_entries_makes_no_difference(server, seed):
    await server.put("/Patient/old", identified("9", id="old"))
    entries = [
        entry("DELETE", "Patient/old"),
        put(observation("a", urn(1))),
        put(observation("b", "Patient?identifier=urn:mrn|2")),
        put(identified("2", id="two")),
        put(identified("1", id="one"), urn(1)),
        entry("PUT", "Patient?identifier=urn:mrn|9", identified("9", id="nine")),
    ]
    random.Random(seed).shuffle(entries)
    assert set(statuses(await transact(server, *entries))) == {"201", "204"}
    assert (await server.stored("Observation", "a"))["subject"]["reference"] == "Patient/one"
    assert (await server.stored("Observation", "b"))["subject"]["reference"] == "Patient/two"
    assert await server.rows() == {"Patient": 3, "Observation": 2}


async def test_thousands_of_entries_are_one_change(server):
    people = [post(identified(str(n)), urn(0) + str(n)) for n in range(500)]
    seen = [post(observation("o", urn(0) + str(n))) for n in range(500)]
    answer = await transact(server, *seen, *people)
    assert set(statuses(answer)) == {"201"}
    assert await server.rows() == {"Patient": 500, "Observation": 500}
    last = await stored(server, answer, 499)
    assert last["subject"]["reference"] == name_of(answer, 999)
    found = await server.get("/Observation?subject:Patient.identifier=urn:mrn|17")
    assert found.names == [name_of(answer, 17)]
