"""The hand-written cases as a client asks them: requests to, and Bundles of, the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine.tenant import DEFAULT_TENANT
from tests.oracle.hand_written import Case, cases, steps
from tests.oracle.test_cases import differs
from tests.rest.server import Answer, FhirServer
from tests.support.fhir_data import BASE
from web.compose import compose
from web.settings import Settings

COUNT = 7  # resources on a page: many a case takes several


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[FhirServer]:
    """The application over a store that holds the hand-written resources."""
    settings = Settings(base_url=BASE, store=f"sqlite:{folder}", tenants=(DEFAULT_TENANT,))
    async with compose(settings) as ports:
        server = FhirServer.of(ports, settings)
        for step in steps():
            path = f"/{step.type}/{step.id}"
            if step.body is None:
                answer = await server.delete(path)
            else:
                answer = await server.put(path, step.body)
            assert answer.status in (200, 201, 204), answer.body
        yield server


async def pages(server: FhirServer, case: Case) -> list[Answer]:
    """Every page of a search, by the links from one to the next."""
    path, _, query = case.query.partition("?")
    address = f"/fhir/{path}".rstrip("/") + f"?{query}&_count={COUNT}".replace("?&", "?")
    answers: list[Answer] = []
    while address:
        answer = await server.get(address, Prefer="handling=strict")
        answers.append(answer)
        links = answer.json.get("link", ()) if answer.status == 200 else ()
        following = [link["url"] for link in links if link["relation"] == "next"]
        address = following[0].replace(BASE, "/fhir", 1) if following else ""
    return answers


async def asked(server: FhirServer, case: Case) -> str:
    """What an answer has other than the table; "" for nothing."""
    found: list[str] = []
    included: set[str] = set()
    for answer in await pages(server, case):
        if answer.status != 200:
            refused = case.refused and answer.status == 400
            return "" if refused else f"{case.line}\n    {answer.status} {answer.body.decode()}"
        for entry in answer.json.get("entry", ()):
            name = f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
            assert entry["fullUrl"] == f"{BASE}/{name}"
            if entry["search"]["mode"] == "match":
                found.append(name)
            else:
                assert entry["search"]["mode"] == "include"
                included.add(name)
    if case.refused:
        return f"{case.line}\n    found {found}"
    return differs(case, found, included - set(found))


async def test_a_client_finds_what_the_table_says(tmp_path):
    async with serving(tmp_path) as server:
        answers = [await asked(server, case) for case in cases()]
    wrong = list(filter(None, answers))
    assert not wrong, "\n".join(wrong)
