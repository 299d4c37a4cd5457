"""Search over HTTP: routes, paging, totals, forms, what was understood (http.html#search)."""

from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
import pytest
import trio

from engine.ports import TenantStore
from tests.rest.server import (
    BASE,
    FHIR_JSON,
    SETTINGS,
    Answer,
    FhirServer,
    identified,
    observation,
    patient,
)

FORM = "application/x-www-form-urlencoded"


async def three_patients(server: FhirServer) -> None:
    for id, family in (("p1", "Adams"), ("p2", "Baker"), ("p3", "Adams")):
        assert (await server.put(f"/Patient/{id}", patient(id, name=[{"family": family}]))).status
    await server.put("/Observation/o1", observation("o1", "Patient/p1"))
    await server.put("/Observation/o2", observation("o2", "Patient/p2"))


async def all_pages(server: FhirServer, path: str) -> list[str]:
    names: list[str] = []
    following: str | None = path
    while following is not None:
        page = await server.get(following)
        assert page.status == 200, page.body
        names += page.names
        following = page.link("next")
    return names


async def test_a_search_answers_a_searchset_of_stored_bodies(server: FhirServer) -> None:
    await three_patients(server)
    page = await server.get("/Patient?family=adams")
    assert page.headers["Content-Type"].startswith(FHIR_JSON)
    assert (page.json["type"], page.json["total"]) == ("searchset", 2)
    first = page.json["entry"][0]
    assert first["fullUrl"] == f"{BASE}/Patient/p1"
    assert first["search"] == {"mode": "match"}
    assert first["resource"] == (await server.get("/Patient/p1")).json
    assert page.names == ["Patient/p1", "Patient/p3"]


async def test_every_way_to_ask_gives_the_same(server: FhirServer) -> None:
    await three_patients(server)
    body = b"family=Adams"
    answers = [
        await server.get("/Patient?family=Adams"),
        await server.get("/Patient/_search?family=Adams"),
        await server.post("/Patient/_search", body, Content_Type=FORM),
        await server.post("/Patient/_search?family=Adams", b"", Content_Type=FORM),
        await server.post("/Patient/_search?family=Adams", b"_id=p1,p3", Content_Type=FORM),
    ]
    assert [answer.names for answer in answers] == [["Patient/p1", "Patient/p3"]] * 5
    wrong = await server.post("/Patient/_search", body, Content_Type="text/plain")
    assert wrong.status == 415


async def test_the_system_and_a_compartment_are_searched(server: FhirServer) -> None:
    await three_patients(server)
    for path in ("", "/"):
        page = await server.get(f"{path}?_type=Patient,Observation&_id=p1,o2")
        assert sorted(page.names) == ["Observation/o2", "Patient/p1"]
    posted = await server.post("/_search", b"_type=Observation&_id=o1", Content_Type=FORM)
    assert posted.names == ["Observation/o1"]
    assert (await server.get("/Patient/p1/Observation")).names == ["Observation/o1"]
    assert (await server.get("/Patient/p1/Observation?_id=o2")).names == []
    both = await server.get("/Patient/p1/*")
    assert sorted(both.names) == ["Observation/o1", "Patient/p1"]
    form = await server.post("/Patient/p1/Observation/_search", b"code=8867-4", Content_Type=FORM)
    assert form.names == ["Observation/o1"]
    assert (await server.get("/Medication/m1/Observation")).status == 400


async def test_pages_hold_everything_once_and_link_to_one_another(server: FhirServer) -> None:
    await three_patients(server)
    assert await all_pages(server, "/Patient?_count=1") == [
        "Patient/p1",
        "Patient/p2",
        "Patient/p3",
    ]
    assert await all_pages(server, "/Patient?_count=2&_sort=-family,_id") == [
        "Patient/p2",
        "Patient/p1",
        "Patient/p3",
    ]


async def test_what_is_written_between_pages_loses_and_doubles_nothing_else(
    server: FhirServer,
) -> None:
    await three_patients(server)
    first = await server.get("/Patient?_count=1")
    await server.put("/Patient/p1", patient("p1", active=True))
    await server.put("/Patient/new", patient("new"))
    await server.delete("/Patient/p2")
    path = first.link("next")
    assert path is not None
    rest = await all_pages(server, path)
    assert rest.count("Patient/p3") == 1
    assert "Patient/p2" not in rest


async def test_a_total_is_told_if_it_is_wanted_or_costs_nothing(server: FhirServer) -> None:
    await three_patients(server)
    assert (await server.get("/Patient")).json["total"] == 3
    assert "total" not in (await server.get("/Patient?_count=1")).json
    for total in ("accurate", "estimate"):
        assert (await server.get(f"/Patient?_count=1&_total={total}")).json["total"] == 3
    assert "total" not in (await server.get("/Patient?_count=1&_total=none")).json
    for query in ("_summary=count", "_count=0"):
        page = (await server.get(f"/Patient?family=adams&{query}")).json
        assert page["total"] == 2
        assert "entry" not in page
        assert [link["relation"] for link in page["link"]] == ["self"]


async def test_includes_are_told_apart_from_matches(server: FhirServer) -> None:
    await three_patients(server)
    page = await server.get("/Observation?_id=o1&_include=Observation:subject")
    modes = {
        entry["resource"]["resourceType"]: entry["search"]["mode"] for entry in page.json["entry"]
    }
    assert modes == {"Observation": "match", "Patient": "include"}
    assert page.json["total"] == 1


async def test_elements_are_of_the_matches_alone_and_what_is_included_is_whole(
    server: FhirServer,
) -> None:
    await three_patients(server)
    page = await server.get("/Observation?_id=o1&_include=Observation:subject&_elements=code")
    match, included = (entry["resource"] for entry in page.json["entry"])
    assert "subject" not in match
    assert included["name"]


async def test_the_form_of_the_resources_is_that_asked_for(server: FhirServer) -> None:
    await three_patients(server)
    page = await server.get("/Patient?_id=p1&_elements=active&_pretty=true&_format=json")
    (entry,) = page.json["entry"]
    assert "name" not in entry["resource"]
    assert b"\n  " in page.body
    text = await server.get("/Patient?_id=p1&_summary=text")
    assert "name" not in text.json["entry"][0]["resource"]


async def test_what_is_unknown_is_left_out_with_a_warning_or_refused(server: FhirServer) -> None:
    await three_patients(server)
    query = "/Patient?family=adams&shoe-size=44"
    page = await server.get(query)
    warning = page.json["entry"][-1]
    assert warning["search"] == {"mode": "outcome"}
    assert warning["resource"]["issue"][0]["expression"] == ["shoe-size"]
    assert len(page.names) == 2
    self_ = page.link("self")
    assert self_ is not None
    assert parse_qsl(urlsplit(self_).query) == [("family", "adams")]
    strict = await server.get(query, Prefer="handling=strict")
    assert strict.status == 400
    assert strict.issue["expression"] == ["shoe-size"]


@pytest.mark.parametrize(
    "query",
    [
        "birthdate=1.1.1980", "birthdate=2020-13-01", "_lastUpdated=x", "_count=-1", "_count=x",
        "_sort=nothing", "general-practitioner.nothing=x", "_include=Nothing:x", "_has:x=1",
        "_cursor=abc", "gender:exact=x", "_summary=no", "_total=x", "active:missing=perhaps",
        "_filter=x", "family:above=x", "_elements=%2C", "_pretty=2", "name=%ff", "_include=",
    ],
)  # fmt: skip
async def test_a_bad_query_is_refused_by_name(server: FhirServer, query: str) -> None:
    answer = await server.get(f"/Patient?{query}", Prefer="handling=strict")
    assert answer.status == 400, answer.body
    assert answer.issue["diagnostics"]
    if "%ff" not in query:
        assert answer.issue["expression"] == [query.partition("=")[0]]


async def test_a_large_count_becomes_the_most_that_is_given(server: FhirServer) -> None:
    page = await server.get("/Patient?_count=1000000")
    self_ = page.link("self")
    assert self_ is not None
    assert parse_qsl(urlsplit(self_).query) == [("_count", "1000")]


async def test_a_thousand_alternatives_are_taken(server: FhirServer) -> None:
    await server.post("/Patient", identified("7"))
    values = ",".join(f"urn:mrn|{number}" for number in range(1000))
    page = await server.get(f"/Patient?identifier={quote(values)}")
    assert page.json["total"] == 1
    body = f"identifier={quote(values)}".encode()
    posted = await server.post("/Patient/_search", body, Content_Type=FORM)
    assert posted.names == page.names


async def test_a_cursor_is_bound_to_its_query_and_tenant(server: FhirServer) -> None:
    await three_patients(server)
    await server.put("/fhir/acme/Patient/p1", patient())
    path = (await server.get("/Patient?_count=1&active:missing=true")).link("next")
    assert path is not None
    assert (await server.get(path)).status == 200
    cursor = path.partition("_cursor=")[2]
    for other in (
        "/Patient?_count=2&active:missing=true",
        "/Patient?_count=1",
        "/Observation?_count=1",
        "/fhir/acme/Patient?_count=1&active:missing=true",
    ):
        answer = await server.get(f"{other}&_cursor={cursor}")
        assert answer.status == 400, other
        assert answer.issue["code"] == "value"
    for broken in (cursor[:-2], cursor[::-1], "", "%00", "A" * 5000):
        answer = await server.get(f"/Patient?_count=1&active:missing=true&_cursor={broken}")
        assert answer.status in (400, 200), broken
        assert broken == "" or answer.status == 400


class SlowStore:
    """A store whose searches never end."""

    def __init__(self, store: TenantStore) -> None:
        self._store = store
        self.stopped = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def search(self, *_: object, **__: object) -> object:
        try:
            await trio.sleep_forever()
        finally:
            self.stopped = True


async def test_a_query_past_its_deadline_is_stopped_and_says_so(
    server: FhirServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStore(await server.store())

    async def store(_: object) -> SlowStore:
        return slow

    hurried = FhirServer.of(server.ports, msgspec.structs.replace(SETTINGS, search_seconds=0.01))
    monkeypatch.setattr(server.ports.tenants, "store", store)
    answer: Answer = await hurried.get("/Patient")
    assert answer.status == 504
    assert answer.issue["code"] == "timeout"
    assert "search_seconds" in answer.issue["diagnostics"]
    assert slow.stopped


async def test_a_tenant_finds_its_own_alone(server: FhirServer) -> None:
    await three_patients(server)
    assert (await server.get("/fhir/acme/Patient")).json["total"] == 0
    assert (await server.get("/fhir/nosuch/Patient")).status == 404


async def test_an_empty_answer_has_no_empty_list(server: FhirServer) -> None:
    page = await server.get("/Patient?_id=none")
    assert page.json["total"] == 0
    assert "entry" not in page.json
