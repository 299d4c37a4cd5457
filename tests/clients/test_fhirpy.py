"""fhirpy, a client of the Python world, against a real server.

It reads and writes through its own classes; where it has no method for something, its
`execute` and its extra headers are used, as its manual says.
"""

import asyncio
from typing import Any

import pytest
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound

SYSTEM = "urn:mrn"
LOINC = "http://loinc.org"


@pytest.fixture
def client(base: str) -> SyncFHIRClient:
    return SyncFHIRClient(base)


def with_headers(client: SyncFHIRClient, **headers: str) -> SyncFHIRClient:
    """The same server, asked with more headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SyncFHIRClient(client.url, extra_headers=named)


def a_patient(client: SyncFHIRClient, value: str = "1", **members: Any) -> Any:
    identifier = [{"system": SYSTEM, "value": value}]
    return client.resource("Patient", identifier=identifier, **members)


def an_observation(client: SyncFHIRClient, patient: Any, number: int) -> Any:
    return client.resource(
        "Observation",
        status="final",
        code={"coding": [{"system": LOINC, "code": "8867-4"}]},
        subject=patient.to_reference(),
        effectiveDateTime=f"2024-01-{number + 1:02}",
        valueQuantity={"value": 60 + number, "unit": "/min"},
    )


def test_what_is_created_can_be_read_and_searched(client: SyncFHIRClient) -> None:
    patient = a_patient(client, name=[{"family": "Pump", "given": ["Ada"]}]).save()
    assert patient["meta"]["versionId"] == "1"

    read = client.reference("Patient", patient.id).to_resource()
    assert read.serialize() == patient.serialize()
    for parameters in ({"family": "pum"}, {"identifier": f"{SYSTEM}|1"}, {"_id": patient.id}):
        assert client.resources("Patient").search(**parameters).get().id == patient.id
    assert client.resources("Patient").search(family="valve").first() is None


def test_all_pages_hold_each_resource_once_in_the_order_that_was_asked_for(
    client: SyncFHIRClient,
) -> None:
    patient = a_patient(client).save()
    made = [an_observation(client, patient, number).save().id for number in range(25)]
    found = client.resources("Observation").search(subject=patient.to_reference())

    pages = found.sort("-date").limit(4).fetch_all()
    assert [one.id for one in pages] == made[::-1]
    assert found.count() == 25
    assert found.search(value_quantity__ge="80").count() == 5
    assert found.search(date__lt="2024-01-03").count() == 2


def test_what_is_included_comes_with_what_was_found(client: SyncFHIRClient) -> None:
    patient = a_patient(client).save()
    observation = an_observation(client, patient, 1).save()
    searched = client.resources("Observation").include("Observation", "subject")
    entries = searched.fetch_raw()["entry"]
    assert [(one["search"]["mode"], one["resource"].id) for one in entries] == [
        ("match", observation.id),
        ("include", patient.id),
    ]
    back = client.resources("Patient").revinclude("Observation", "subject").fetch_raw()["entry"]
    assert [one["resource"].id for one in back] == [patient.id, observation.id]
    assert client.resources("Patient").has("Observation", "subject", code="8867-4").count() == 1
    chained = client.resources("Observation").search(patient__identifier=f"{SYSTEM}|1")
    assert [one.id for one in chained.fetch()] == [observation.id]


def test_an_update_makes_a_version_and_an_old_if_match_fails(client: SyncFHIRClient) -> None:
    patient = a_patient(client).save()
    patient["gender"] = "female"
    patient.save()
    assert patient["meta"]["versionId"] == "2"

    with pytest.raises(MultipleResourcesFound, match="conflict"):  # its name for any 412
        with_headers(client, If_Match='W/"1"').resource("Patient", **patient.serialize()).save()
    updated = with_headers(client, If_Match='W/"2"').resource("Patient", **patient.serialize())
    assert updated.save()["meta"]["versionId"] == "3"

    patient.refresh()  # it sends the version that it has as If-None-Match
    assert patient["meta"]["versionId"] == "3"
    again = client.execute(f"Patient/{patient.id}", method="get")
    assert again == patient.serialize()


def test_a_version_that_it_has_is_not_sent_again(client: SyncFHIRClient) -> None:
    patient = a_patient(client).save()
    path, version = f"Patient/{patient.id}", patient["meta"]["versionId"]
    asked = {"extra_headers": {"If-None-Match": f'W/"{version}"'}, "returning_status": True}
    assert client._do_request("get", path, **asked) == (None, 304)


def test_a_conditional_create_finds_what_is_there(client: SyncFHIRClient) -> None:
    careful = with_headers(client, If_None_Exist=f"identifier={SYSTEM}|1")
    first, again = a_patient(careful).save(), a_patient(careful).save()
    assert (again.id, again["meta"]["versionId"]) == (first.id, "1")
    assert client.resources("Patient").count() == 1

    a_patient(client).save()
    with pytest.raises(MultipleResourcesFound, match="multiple-matches"):
        a_patient(careful).save()


def test_a_conditional_update_creates_then_updates(client: SyncFHIRClient) -> None:
    found = client.resources("Patient").search(identifier=f"{SYSTEM}|1")
    first, created = found.update(a_patient(client))
    again, created_again = found.update(a_patient(client, gender="male"))
    assert (created, created_again) == (True, False)
    assert (again.id, again["gender"]) == (first.id, "male")


def test_a_patch_is_a_json_patch(client: SyncFHIRClient) -> None:
    patient = a_patient(client).save()
    with pytest.raises(OperationOutcome, match=r"application/json-patch\+json"):
        patient.patch(gender="other")  # members to be merged, sent as plain JSON

    patching = with_headers(client, Content_Type="application/json-patch+json")
    steps = [{"op": "add", "path": "/gender", "value": "other"}]
    patched = patching.execute(f"Patient/{patient.id}", method="patch", data=steps)
    assert (patched["gender"], patched["meta"]["versionId"]) == ("other", "2")


def test_a_transaction_links_what_it_creates(client: SyncFHIRClient) -> None:
    fullurl = "urn:uuid:1f4e8a5c-0d0b-4a3a-9a53-8a5f6a6fbf10"
    patient = a_patient(client).serialize()
    observation = an_observation(client, client.reference("Patient", "x"), 1).serialize()
    observation["subject"]["reference"] = fullurl
    entries = [
        {"request": {"method": "POST", "url": "Observation"}, "resource": observation},
        {
            "fullUrl": fullurl,
            "request": {"method": "POST", "url": "Patient"},
            "resource": patient,
        },
    ]
    answer = client.resource("Bundle", type="transaction", entry=entries)
    done = client.execute("", data=answer.serialize())
    assert [entry["response"]["status"][:3] for entry in done["entry"]] == ["201", "201"]

    written = client.resources("Observation").first()
    assert written["subject"].to_resource()["identifier"] == patient["identifier"]


def test_a_transaction_that_fails_leaves_nothing(client: SyncFHIRClient) -> None:
    entries = [
        {"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}},
        {"request": {"method": "PUT", "url": "Patient/a"}, "resource": {"resourceType": "Group"}},
    ]
    with pytest.raises(OperationOutcome, match=r"Bundle\.entry\[1\]"):
        client.execute("", data={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert client.resources("Patient").count() == 0


def test_a_deletion_is_in_the_history_and_an_update_goes_on(client: SyncFHIRClient) -> None:
    patient = a_patient(client).save()
    assert patient.delete() is None
    with pytest.raises(ResourceNotFound, match="deleted"):
        client.reference("Patient", patient.id).to_resource()
    assert client.resources("Patient").count() == 0

    client.resource("Patient", id=patient.id, gender="male").save()
    entries = client.execute(f"Patient/{patient.id}/_history", method="get")["entry"]
    assert [entry["request"]["method"] for entry in entries] == ["PUT", "DELETE", "PUT"]
    assert entries[0]["resource"]["meta"]["versionId"] == "3"


def test_validation_is_asked_for_and_told(client: SyncFHIRClient) -> None:
    assert a_patient(client, gender="female").is_valid()
    wrong = a_patient(client, gender="mermaid")
    assert not wrong.is_valid()
    with pytest.raises(OperationOutcome, match=r"Patient\.gender"):
        wrong.save()


def test_an_error_is_an_outcome_it_can_read(client: SyncFHIRClient) -> None:
    with pytest.raises(OperationOutcome) as refused:
        client.resources("Observation").search(date="yesterday").fetch()
    [issue] = refused.value.resource["issue"]
    assert (issue["severity"], issue["expression"]) == ("error", ["date"])


def test_many_requests_of_one_event_loop_are_all_answered(base: str) -> None:
    async def write_and_read() -> tuple[int, set[str]]:
        client = AsyncFHIRClient(base)
        patients = [
            client.resource("Patient", identifier=[{"system": SYSTEM, "value": f"{number}"}])
            for number in range(20)
        ]
        await asyncio.gather(*(patient.save() for patient in patients))
        found = client.resources("Patient").search(identifier=f"{SYSTEM}|").limit(7)
        return await found.count(), {one.id async for one in found} - {one.id for one in patients}

    assert asyncio.run(write_and_read()) == (20, set())
