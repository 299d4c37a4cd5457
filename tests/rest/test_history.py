"""History of a resource, of a type and of all (http.html#history)."""

import pytest

from tests.rest.server import BASE, FhirServer, observation, patient


def shown(page) -> list[tuple[str, str]]:
    """Request and answered ETag of each entry."""
    return [
        (f"{entry['request']['method']} {entry['request']['url']}", entry["response"]["etag"])
        for entry in page.json.get("entry", [])
    ]


async def four_changes(server: FhirServer) -> None:
    await server.put("/Patient/p1", patient())
    await server.put("/Patient/p1", patient(active=True))
    await server.put("/Observation/o1", observation("o1"))
    await server.delete("/Patient/p1")


async def test_a_history_shows_the_newest_first_and_deletions(server: FhirServer) -> None:
    await four_changes(server)
    page = await server.get("/Patient/p1/_history")
    assert page.status == 200
    assert page.json["type"] == "history"
    assert page.json["total"] == 3
    assert shown(page) == [
        ("DELETE Patient/p1", 'W/"3"'),
        ("PUT Patient/p1", 'W/"2"'),
        ("PUT Patient/p1", 'W/"1"'),
    ]
    deletion, changed, made = page.json["entry"]
    assert "resource" not in deletion
    assert [entry["response"]["status"] for entry in (deletion, changed, made)] == [
        "204",
        "200",
        "201",
    ]
    assert changed["resource"]["active"] is True
    assert changed["response"]["lastModified"] == changed["resource"]["meta"]["lastUpdated"]
    assert changed["fullUrl"] == f"{BASE}/Patient/p1"


async def test_types_and_the_system_have_histories(server: FhirServer) -> None:
    await four_changes(server)
    assert len(shown(await server.get("/Patient/_history"))) == 3
    system = await server.get("/_history")
    assert shown(system)[:2] == [("DELETE Patient/p1", 'W/"3"'), ("PUT Observation/o1", 'W/"1"')]
    assert system.json["total"] == 4
    assert shown(await server.get("/Device/_history")) == []


async def test_pages_of_a_history_show_each_version_once_whatever_is_written(
    server: FhirServer,
) -> None:
    await four_changes(server)
    seen, path = [], "/_history?_count=1"
    while path is not None:
        page = await server.get(path)
        assert page.json["total"] == 4
        seen += shown(page)
        path = page.link("next")
        await server.put("/Patient/p2", patient("p2"))
    assert seen == [
        ("DELETE Patient/p1", 'W/"3"'),
        ("PUT Observation/o1", 'W/"1"'),
        ("PUT Patient/p1", 'W/"2"'),
        ("PUT Patient/p1", 'W/"1"'),
    ]


async def test_a_count_of_zero_tells_how_many_there_are(server: FhirServer) -> None:
    await four_changes(server)
    page = await server.get("/Patient/p1/_history?_count=0")
    assert page.json["total"] == 3
    assert "entry" not in page.json


async def test_since_is_at_or_after(server: FhirServer) -> None:
    made = await server.put("/Patient/p1", patient())
    changed = await server.put("/Patient/p1", patient(active=True))
    first = made.json["meta"]["lastUpdated"]
    last = changed.json["meta"]["lastUpdated"]
    assert len(shown(await server.get(f"/Patient/p1/_history?_since={first}"))) == 2
    assert ("PUT Patient/p1", 'W/"2"') in shown(
        await server.get(f"/Patient/p1/_history?_since={last}")
    )
    assert shown(await server.get("/Patient/p1/_history?_since=2999-01-01T00:00:00Z")) == []


async def test_at_is_what_was_current_at_some_time_of_it(server: FhirServer) -> None:
    await four_changes(server)
    day = (await server.get("/Patient/p1/_history/1")).json["meta"]["lastUpdated"][:10]
    assert len(shown(await server.get(f"/Patient/p1/_history?_at={day}"))) == 3
    assert shown(await server.get("/Patient/p1/_history?_at=1999-01-01")) == []
    after = shown(await server.get("/Patient/p1/_history?_at=2999-01-01"))
    assert after in ([], [("DELETE Patient/p1", 'W/"3"')])


async def test_a_history_of_what_never_was_is_not_found(server: FhirServer) -> None:
    await server.put("/Patient/p1", patient())
    assert (await server.get("/Patient/none/_history")).status == 404
    future = await server.get("/Patient/p1/_history?_since=2999-01-01T00:00:00Z")
    assert (future.status, future.json["total"]) == (200, 0)


@pytest.mark.parametrize(
    "query",
    ["_since=yesterday", "_at=x", "_count=-1", "_count=x", "_sort=_id", "_list=1", "_cursor=x"],
)
async def test_a_bad_parameter_of_a_history_is_refused_by_name(
    server: FhirServer, query: str
) -> None:
    answer = await server.get(f"/Patient/_history?{query}")
    assert answer.status == 400
    assert answer.issue["expression"] == [query.partition("=")[0]]


async def test_a_cursor_of_another_history_or_tenant_is_refused(server: FhirServer) -> None:
    await four_changes(server)
    await server.put("/fhir/acme/Patient/p1", patient())
    next_ = (await server.get("/_history?_count=1")).link("next")
    assert next_ is not None
    cursor = next_.partition("_cursor=")[2]
    assert (await server.get(f"/_history?_count=1&_cursor={cursor}")).status == 200
    for path in (
        "/_history?_count=2",
        "/Patient/_history?_count=1",
        "/fhir/acme/_history?_count=1",
    ):
        assert (await server.get(f"{path}&_cursor={cursor}")).status == 400, path


async def test_a_history_is_shown_in_the_form_that_was_asked_for(server: FhirServer) -> None:
    await server.put("/Patient/p1", patient(active=True, birthDate="1980-01-01"))
    page = await server.get("/Patient/p1/_history?_elements=birthDate&_pretty=true")
    (entry,) = page.json["entry"]
    assert "active" not in entry["resource"]
    assert b"\n  " in page.body
