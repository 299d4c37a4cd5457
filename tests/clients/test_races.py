"""Races over HTTP: fifty clients with a connection each ask one server at the same moment.

Every promise here is about what is there afterwards, so the store is looked at, not the answers
alone.
"""

import itertools
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import trio

CLIENTS = 50
ANSWER_SECONDS_MAX = 60
PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}]}
CRITERIA = "identifier=urn:mrn|1"
ROUNDS_MAX = CLIENTS * CLIENTS  # tries until all have won, even if each round has one winner

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx otherwise reads certificates for each

Ask = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


def connection(base: str) -> httpx.AsyncClient:
    """One client of its own."""
    return httpx.AsyncClient(
        base_url=base, timeout=ANSWER_SECONDS_MAX, trust_env=False, verify=NO_TLS
    )


@asynccontextmanager
async def connected(base: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Fifty clients whose connections are open."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connection(base)) for _ in range(CLIENTS)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.get, "/Patient?_summary=count")
        yield clients


async def together(base: str, ask: Ask) -> list[httpx.Response]:
    """What each client is answered; all ask at once."""
    answers: list[httpx.Response] = []
    start = trio.Event()

    async with connected(base) as clients:

        async def one(client: httpx.AsyncClient, number: int) -> None:
            await start.wait()
            answers.append(await ask(client, number))

        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                nursery.start_soon(one, client, number)
            start.set()
    return answers


async def found(base: str, query: str = "Patient") -> list[dict[str, Any]]:
    """All resources that a search finds."""
    async with connection(base) as client:
        answer = (await client.get(f"/{query}", params={"_count": 1000})).json()
    return [entry["resource"] for entry in answer.get("entry", [])]


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_creates_with_one_if_none_exist_make_one_resource(base: str) -> None:
    answers = await together(
        base,
        lambda client, _: client.post(
            "/Patient", json=PATIENT, headers={"If-None-Exist": CRITERIA}
        ),
    )
    assert statuses(answers) == {201: 1, 200: CLIENTS - 1}
    [patient] = await found(base)
    assert {answer.json()["id"] for answer in answers} == {patient["id"]}
    assert patient["meta"]["versionId"] == "1"


async def test_equal_conditional_updates_make_one_resource(base: str) -> None:
    answers = await together(
        base, lambda client, _: client.put(f"/Patient?{CRITERIA}", json=PATIENT)
    )
    assert statuses(answers) == {201: 1, 200: CLIENTS - 1}
    [patient] = await found(base)
    assert patient["meta"]["versionId"] == str(CLIENTS)
    versions = sorted(int(answer.json()["meta"]["versionId"]) for answer in answers)
    assert versions == list(range(1, CLIENTS + 1))


async def test_equal_transactions_with_a_conditional_create_make_one_resource(base: str) -> None:
    name = "urn:uuid:1f4e8a5c-0d0b-4a3a-9a53-8a5f6a6fbf10"
    create = {"method": "POST", "url": "Patient", "ifNoneExist": CRITERIA}
    visit = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": name},
    }
    entry = [
        {"fullUrl": name, "resource": PATIENT, "request": create},
        {"resource": visit, "request": {"method": "POST", "url": "Encounter"}},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entry}
    answers = await together(base, lambda client, _: client.post("/", json=bundle))
    assert statuses(answers) == {200: CLIENTS}
    [patient] = await found(base)
    visits = await found(base, "Encounter")
    assert [visit["subject"]["reference"] for visit in visits] == [
        f"Patient/{patient['id']}"
    ] * CLIENTS


async def test_updates_with_if_match_lose_none(base: str) -> None:
    async def add_one(client: httpx.AsyncClient, number: int) -> httpx.Response:
        """Read, count, write; again until nobody else wrote in between."""
        for _ in range(ROUNDS_MAX):
            read = await client.get("/Basic/counter")
            basic = read.json()
            value = basic["extension"][0]["valueInteger"]
            basic["extension"][0]["valueInteger"] = value + 1
            basic["extension"].append({"url": "urn:who", "valueInteger": number})
            written = await client.put(
                "/Basic/counter", json=basic, headers={"If-Match": read.headers["ETag"]}
            )
            if written.status_code != 412:
                return written
        raise AssertionError("others were faster each time")

    counter = {
        "resourceType": "Basic",
        "id": "counter",
        "code": {"text": "counter"},
        "extension": [{"url": "urn:count", "valueInteger": 0}],
    }
    async with connection(base) as client:
        assert (await client.put("/Basic/counter", json=counter)).status_code == 201
    answers = await together(base, add_one)
    assert statuses(answers) == {200: CLIENTS}
    [basic] = await found(base, "Basic")
    count, *who = [extension["valueInteger"] for extension in basic["extension"]]
    assert (count, sorted(who)) == (CLIENTS, list(range(CLIENTS)))
    assert basic["meta"]["versionId"] == str(CLIENTS + 1)


async def test_creates_at_one_id_that_is_new_make_one_version_each(base: str) -> None:
    def create_only(client: httpx.AsyncClient, number: int) -> Awaitable[httpx.Response]:
        patient = {"resourceType": "Patient", "id": "p", "birthDate": f"19{number:02}"}
        return client.put("/Patient/p", json=patient, headers={"If-None-Match": "*"})

    answers = await together(base, create_only)
    assert statuses(answers) == {201: 1, 412: CLIENTS - 1}
    [patient] = await found(base)
    [winner] = [answer.json() for answer in answers if answer.status_code == 201]
    assert patient == winner


async def test_deletions_and_updates_at_once_leave_a_history_without_a_gap(base: str) -> None:
    def write(client: httpx.AsyncClient, number: int) -> Awaitable[httpx.Response]:
        if number % 2:
            return client.delete("/Patient/p")
        return client.put("/Patient/p", json={"resourceType": "Patient", "id": "p"})

    answers = await together(base, write)
    assert set(statuses(answers)) <= {200, 201, 204}
    async with connection(base) as client:
        history = (await client.get("/Patient/p/_history", params={"_count": 1000})).json()
    versions = [int(entry["response"]["etag"][3:-1]) for entry in history["entry"]]
    methods = [entry["request"]["method"] for entry in reversed(history["entry"])]
    assert versions == list(range(len(versions), 0, -1))
    assert methods.count("PUT") == CLIENTS / 2
    assert "DELETE" not in {a for a, b in itertools.pairwise(methods) if a == b}
