"""Patient/[id]/$everything (patient-operation-everything.html)."""

import pytest

from tests.rest.server import BASE, FhirServer, observation, patient

ALL = "/Patient/p1/$everything"


async def ward(server: FhirServer) -> None:
    doctor = {"resourceType": "Practitioner", "id": "d1"}
    await server.put("/Practitioner/d1", doctor)
    await server.put("/Practitioner/d2", {**doctor, "id": "d2"})
    await server.put("/Patient/p1", patient("p1"))
    await server.put("/Patient/p2", patient("p2"))
    performer = [{"reference": "Practitioner/d1"}]
    await server.put("/Observation/o1", observation("o1", "Patient/p1", performer=performer))
    await server.put("/Observation/o2", observation("o2", "Patient/p2"))
    both = [{"actor": {"reference": f"Patient/{id}"}, "status": "accepted"} for id in ("p1", "p2")]
    appointment = {"resourceType": "Appointment", "id": "a1", "status": "booked"}
    await server.put("/Appointment/a1", {**appointment, "participant": both})


async def test_everything_is_the_compartment_and_what_it_points_to(server: FhirServer) -> None:
    await ward(server)
    page = await server.get(ALL)
    assert page.status == 200, page.body
    assert page.json["type"] == "searchset"
    assert sorted(page.names) == [
        "Appointment/a1",
        "Observation/o1",
        "Patient/p1",
        "Practitioner/d1",
    ]
    modes = {entry["fullUrl"]: entry["search"]["mode"] for entry in page.json["entry"]}
    assert modes[f"{BASE}/Practitioner/d1"] == "include"


async def test_everything_comes_in_pages(server: FhirServer) -> None:
    await ward(server)
    seen, path = set(), f"{ALL}?_count=1"
    while path is not None:
        page = await server.get(path)
        assert page.status == 200, page.body
        seen |= set(page.names)
        path = page.link("next")
    assert seen == {"Appointment/a1", "Observation/o1", "Patient/p1", "Practitioner/d1"}


async def test_types_and_times_narrow_it(server: FhirServer) -> None:
    await ward(server)
    assert (await server.get(f"{ALL}?_type=Observation")).names == ["Observation/o1"]
    both = await server.get(f"{ALL}?_type=Observation,Practitioner")
    assert sorted(both.names) == ["Observation/o1", "Practitioner/d1"]
    assert (await server.get(f"{ALL}?_since=2999-01-01T00:00:00Z")).names == []
    assert len((await server.get(f"{ALL}?_since=1999-01-01T00:00:00Z")).names) == 4


async def test_parameters_may_stand_in_a_body(server: FhirServer) -> None:
    await ward(server)
    entry = {"name": "_type", "valueCode": "Observation"}
    page = await server.post(ALL, {"resourceType": "Parameters", "parameter": [entry]})
    assert page.names == ["Observation/o1"]
    assert len((await server.post(ALL, b"")).names) == 4
    assert (await server.post(ALL, {"resourceType": "Patient"})).status == 400


@pytest.mark.parametrize(
    "query", ["start=2020", "end=2020", "_type=Nothing", "_since=x", "_count=0", "_sort=_id"]
)
async def test_what_is_not_done_is_refused_by_name(server: FhirServer, query: str) -> None:
    await ward(server)
    answer = await server.get(f"{ALL}?{query}")
    assert answer.status == 400
    assert answer.issue["expression"] == [query.partition("=")[0]]


async def test_a_patient_that_is_not_there_has_nothing(server: FhirServer) -> None:
    assert (await server.get(ALL)).status == 404
    await server.put("/Patient/p1", patient())
    await server.delete("/Patient/p1")
    assert (await server.get(ALL)).status == 410
