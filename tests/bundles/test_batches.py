"""Batches over HTTP: every entry for itself (FHIR R4 http.html#transaction)."""

import pytest
import trio

from tests.bundles.server import batch, entry, name_of, patch, post, put, statuses, stored, urn
from tests.rest.server import identified, observation, patient


async def test_what_fails_leaves_the_others_alone(server):
    answer = await batch(
        server,
        put(patient("a")),
        put({**patient("b"), "birthDate": "x"}),
        {"resource": patient("c")},
        put(patient("d"), ifMatch='W/"3"'),
        put(patient("e")),
    )
    assert answer.json["type"] == "batch-response"
    assert statuses(answer) == ["201", "422", "400", "412", "201"]
    assert await server.rows() == {"Patient": 2}
    refused = answer.json["entry"][1]["response"]["outcome"]["issue"][0]
    assert refused["expression"] == ["Bundle.entry[1].resource.birthDate"]


async def test_reads_of_every_kind_are_answered_as_if_alone(server):
    await server.put("/Patient/p", identified("1", id="p"))
    await server.put("/Patient/p", identified("2", id="p"))
    await server.put("/Observation/o", observation("o", "Patient/p"))
    urls = [
        "Patient/p",
        "Patient/p/_history/1",
        "Patient/p/_history",
        "Patient?identifier=urn:mrn%7C2",
        "Patient/p/Observation",
        "Patient/p/$everything",
        "?_type=Patient",
        "Patient/nobody",
        "Patient/p/_history/9",
        "Patient?nonsense=1",
        "metadata",
    ]
    answer = await batch(server, *(entry("GET", url) for url in urls))
    assert statuses(answer) == ["200"] * 7 + ["404", "404", "200", "200"]
    for url, one in zip(urls, answer.json["entry"], strict=True):
        alone = await server.get(f"/{url}" if not url.startswith("?") else url)
        assert one["response"]["status"].startswith(str(alone.status))
        held = one.get("resource") or one["response"]["outcome"]
        assert held["resourceType"] == alone.json["resourceType"]
        assert one["response"].get("etag") == alone.headers.get("ETag")
    assert answer.json["entry"][1]["resource"]["identifier"][0]["value"] == "1"


async def test_conditions_of_reads_count(server):
    await server.put("/Patient/p", patient("p"))
    answer = await batch(
        server,
        entry("GET", "Patient/p", ifNoneMatch='W/"1"'),
        entry("GET", "Patient/p", ifNoneMatch='W/"2"'),
        entry("HEAD", "Patient/p"),
    )
    assert statuses(answer) == ["304", "200", "200"]
    assert "resource" not in answer.json["entry"][2]


async def test_writes_of_every_kind_are_done(server):
    await server.put("/Patient/there", identified("1", id="there"))
    answer = await batch(
        server,
        post(identified("1"), ifNoneExist="identifier=urn:mrn|1"),
        entry("PUT", "Patient?identifier=urn:mrn|2", identified("2")),
        patch("Patient/there", {"op": "add", "path": "/active", "value": True}),
        entry("DELETE", "Patient/nobody"),
        post(observation("o", "Patient?identifier=urn:mrn|1")),
    )
    assert statuses(answer) == ["200", "201", "200", "204", "201"]
    assert (await server.stored("Patient", "there"))["active"] is True
    assert (await stored(server, answer, 4))["subject"]["reference"] == "Patient/there"


async def test_entries_do_not_know_each_other(server):
    answer = await batch(server, post(patient(), urn(1)), post(observation("o", urn(1))))
    assert (await stored(server, answer, 1))["subject"]["reference"] == urn(1)


async def test_operations_are_answered(server):
    answer = await batch(
        server,
        entry("POST", "Patient/$validate", patient("p")),
        entry("GET", "$export"),
        entry("POST", "$export"),
    )
    assert statuses(answer) == ["200", "400", "400"]
    assert answer.json["entry"][0]["resource"]["resourceType"] == "OperationOutcome"
    assert await server.rows() == {}


async def test_entries_of_another_tenant_cannot_be_reached(server):
    await server.put("/acme/Patient/p", patient("p"))
    answer = await batch(
        server, entry("GET", "acme/Patient/p"), entry("GET", "../fhir/acme/Patient/p")
    )
    assert "200" not in statuses(answer)[1:]
    inside = await server.post(
        "/acme",
        b'{"resourceType":"Bundle","type":"batch","entry":[%b]}'
        % (b'{"request":{"method":"GET","url":"Patient/p"}}'),
    )
    assert statuses(inside) == ["200"]


@pytest.mark.parametrize("clients", [50])
async def test_parallel_conditional_creates_make_one_resource(server, clients):
    one = post(identified("1"), ifNoneExist="identifier=urn:mrn|1")
    answer = await batch(server, *[one] * clients)
    assert sorted(statuses(answer)) == ["200"] * (clients - 1) + ["201"]
    assert await server.rows() == {"Patient": 1}
    assert len({name_of(answer, number) for number in range(clients)}) == 1


async def test_requests_are_counted_apart(server):
    """What is noted about a Bundle's request is not that of its last entry."""
    answers = []

    async def send() -> None:
        answers.append(
            await batch(server, *[entry("GET", "Patient/nobody")] * 40, X_Request_Id="bundle-1")
        )

    with trio.fail_after(60):
        await send()
    assert answers[0].headers["X-Request-Id"] == "bundle-1"
    assert set(statuses(answers[0])) == {"404"}
