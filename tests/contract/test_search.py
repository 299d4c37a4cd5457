"""ResourceSearch: what every backend finds, and how its pages go on."""

import json
from urllib.parse import parse_qsl

import pytest

from engine.errors import BadParameter, NotSupported, TooCostly
from engine.fhir.search.query import SearchContext, parse_search
from engine.fhir.search.tree import SortKey
from tests.support.builders import prepared


def resource(type, id, **members):
    """A resource ready to be stored."""
    return prepared(type, id, json.dumps(members).encode()[1:-1])


def patient(id, family, **members):
    return resource("Patient", id, name=[{"family": family}], **members)


def observation(id, code="a", subject="", **members):
    if subject:
        members["subject"] = {"reference": subject}
    return resource("Observation", id, code={"coding": [{"code": code}]}, **members)


def read(definitions, text, *, compartment=None):
    path, _, query = text.partition("?")
    return parse_search(
        parse_qsl(query),
        type=path or None,
        search=definitions,
        lenient=False,
        context=SearchContext(now_ms=0, compartment=compartment),
    ).query


async def search(store, text, *, limit=100, position=b"", **how):
    query = read(await store.search_definitions(), text, **how)
    return await store.search(query, limit=limit, position=position)


async def found(store, text, **how):
    """The ids on the first page."""
    return [one.id for one in (await search(store, text, **how)).matches]


async def included(store, text, **how):
    page = await search(store, text, **how)
    return sorted(f"{one.type}/{one.id}" for one in page.included)


async def put(store, *resources):
    for one in resources:
        await store.update(one)


async def test_a_resource_is_found_once_it_is_written(store):
    await put(store, patient("p", "Chalmers"))
    (match,) = (await search(store, "Patient?family=chal")).matches
    assert match == await store.read("Patient", "p")


async def test_an_update_is_found_by_what_it_says_now(store):
    await put(store, patient("p", "Chalmers"), patient("p", "Windsor"))
    assert await found(store, "Patient?family=chalmers") == []
    assert await found(store, "Patient?family=windsor") == ["p"]


async def test_what_is_deleted_is_not_found_until_it_is_there_again(store):
    await put(store, patient("p", "Chalmers"))
    await store.delete("Patient", "p")
    assert await found(store, "Patient?family=chalmers") == []
    await put(store, patient("p", "Chalmers"))
    assert await found(store, "Patient?family=chalmers") == ["p"]


async def test_results_come_in_the_order_of_creation(store):
    await put(store, patient("b", "x"), patient("a", "x"), patient("c", "x"), patient("b", "y"))
    assert await found(store, "Patient") == ["b", "a", "c"]


async def test_pages_go_on_where_the_one_before_ended(store):
    await put(store, *(patient(str(n), "x") for n in range(5)))
    first = await search(store, "Patient?family=x", limit=2)
    second = await search(store, "Patient?family=x", limit=2, position=first.position)
    third = await search(store, "Patient?family=x", limit=2, position=second.position)
    assert [[one.id for one in page.matches] for page in (first, second, third)] == [
        ["0", "1"],
        ["2", "3"],
        ["4"],
    ]
    assert third.position == b""


async def test_what_moves_behind_the_cursor_comes_again_at_the_end(store):
    await put(store, *(patient(name, name) for name in "bcdf"))
    first = await search(store, "Patient?_sort=family", limit=2)
    assert [one.id for one in first.matches] == ["b", "c"]
    await put(store, patient("f", "a"))
    rest = await search(store, "Patient?_sort=family", position=first.position)
    assert [one.id for one in rest.matches] == ["d", "f"]


async def test_what_changed_and_matches_no_more_does_not_come(store):
    await put(store, *(patient(name, "x") for name in "abc"))
    first = await search(store, "Patient?family=x", limit=1)
    await put(store, patient("b", "y"))
    rest = await search(store, "Patient?family=x", position=first.position)
    assert [one.id for one in rest.matches] == ["c"]


async def test_missing_values_are_last_in_both_directions(store):
    await put(
        store,
        patient("none", "x"),
        patient("old", "x", birthDate="1950"),
        patient("young", "x", birthDate="2000"),
    )
    assert await found(store, "Patient?_sort=birthdate") == ["old", "young", "none"]
    assert await found(store, "Patient?_sort=-birthdate") == ["young", "old", "none"]


async def test_several_values_sort_by_the_least_and_the_greatest(store):
    await put(
        store,
        resource("Patient", "wide", name=[{"family": "a"}, {"family": "z"}]),
        patient("narrow", "m"),
    )
    assert await found(store, "Patient?_sort=family") == ["wide", "narrow"]
    assert await found(store, "Patient?_sort=-family") == ["wide", "narrow"]


async def test_results_are_not_sorted_by_a_reference(store):
    await put(store, observation("o"))
    definitions = await store.search_definitions()
    subject = definitions.parameter("Observation", "subject")
    query = read(definitions, "Observation")
    query = type(query)(types=query.types, sort=(SortKey(subject),))
    with pytest.raises(NotSupported):
        await store.search(query, limit=10)


async def test_a_count_is_exact(store):
    await put(store, *(patient(str(n), "xy"[n % 2]) for n in range(7)))
    definitions = await store.search_definitions()
    texts = ("Patient", "Patient?family=x", "Patient?gender:not=male", "Observation", "?")
    counts = [await store.count(read(definitions, text)) for text in texts]
    assert counts == [7, 4, 7, 0, 7]


async def test_chains_lead_only_to_live_resources(store):
    await put(store, patient("p", "x"), observation("o", subject="Patient/p"))
    assert await found(store, "Observation?subject:Patient.family=x") == ["o"]
    await store.delete("Patient", "p")
    assert await found(store, "Observation?subject:Patient.family=x") == []
    assert await found(store, "Observation?subject=Patient/p") == ["o"]


async def test_reverse_chains_follow_references_back(store):
    await put(
        store,
        patient("p", "x"),
        patient("q", "x"),
        observation("1", "a", "Patient/p"),
        observation("2", "b", "Patient/q"),
    )
    assert await found(store, "Patient?_has:Observation:subject:code=b") == ["q"]


async def test_a_compartment_holds_what_points_to_its_resource(store):
    await put(store, patient("p", "x"), observation("1", subject="Patient/p"), observation("2"))
    assert await found(store, "Observation", compartment=("Patient", "p")) == ["1"]


async def test_a_list_finds_its_entries(store):
    await put(
        store,
        patient("p", "x"),
        patient("q", "x"),
        resource("List", "l", entry=[{"item": {"reference": "Patient/q"}}]),
    )
    assert await found(store, "Patient?_list=l") == ["q"]


async def test_each_included_resource_comes_once_and_no_match_again(store):
    await put(
        store,
        patient("p", "x"),
        observation("1", subject="Patient/p"),
        observation("2", subject="Patient/p", derivedFrom=[{"reference": "Observation/1"}]),
    )
    text = "Observation?_include=Observation:subject&_include=Observation:derived-from"
    assert await included(store, text) == ["Patient/p"]


async def test_included_resources_are_followed_on_only_with_iterate(store):
    await put(
        store,
        resource("Organization", "o", name="x"),
        patient("p", "x", managingOrganization={"reference": "Organization/o"}),
        observation("1", subject="Patient/p"),
    )
    text = "Observation?_include=Observation:subject&_include{}=Patient:organization"
    assert await included(store, text.format(":iterate")) == ["Organization/o", "Patient/p"]


async def test_a_ring_of_references_ends(store):
    await put(
        store,
        resource("Organization", "a", partOf={"reference": "Organization/b"}),
        resource("Organization", "b", partOf={"reference": "Organization/a"}),
    )
    text = "Organization?_id=a&_include:iterate=Organization:partof"
    assert await included(store, text) == ["Organization/b"]


async def test_a_page_is_shorter_if_its_matches_include_too_much(store):
    await store.ingest(
        [observation(f"{p}-{n}", subject=f"Patient/{p}") for p in "pqr" for n in range(450)]
    )
    await put(store, *(patient(p, "x") for p in "pqr"))
    text = "Patient?_revinclude=Observation:subject"
    first = await search(store, text)
    assert ([one.id for one in first.matches], len(first.included)) == (["p"], 450)
    second = await search(store, text, position=first.position)
    assert ([one.id for one in second.matches], len(second.included)) == (["q", "r"], 900)
    assert second.position == b""


async def test_one_match_that_includes_too_much_is_refused(store):
    await store.ingest([observation(str(n), subject="Patient/p") for n in range(1001)])
    await put(store, patient("p", "x"))
    with pytest.raises(TooCostly, match="_revinclude"):
        await search(store, "Patient?_revinclude=Observation:subject")


async def test_a_change_finds_what_it_has_done_so_far(store):
    await put(store, patient("p", "x"))
    query = read(await store.search_definitions(), "Patient?family=x")

    async def work(session):
        before = await session.find(query, limit=2)
        await session.put(patient("q", "x"))
        await session.delete("Patient", "p")
        return before, await session.find(query, limit=2)

    before, after = await store.transact(work)
    assert [[one.id for one in each] for each in (before, after)] == [["p"], ["q"]]


async def test_a_position_that_no_page_gave_is_refused(store):
    await put(store, patient("p", "x"))
    for position in (b"x", b"\x94", b"\xff\xff"):
        with pytest.raises(BadParameter, match="begin again"):
            await search(store, "Patient", position=position)
