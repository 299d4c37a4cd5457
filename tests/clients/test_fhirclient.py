"""fhirclient, the Python client of SMART on FHIR, against a real server.

It has a class for each resource of R4 and reads every answer through it strictly: what the
server sends is of the right form, or the test fails. It has no method for headers, so those
that it needs are set on its session.
"""

from collections.abc import Iterator

import pytest
import requests
from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle
from fhirclient.models.fhirsearch import FHIRSearch
from fhirclient.models.observation import Observation
from fhirclient.models.operationoutcome import OperationOutcome
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRServer

HEART_RATE = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}


@pytest.fixture
def server(base: str) -> Iterator[FHIRServer]:
    """The client's side of a server, made ready by its CapabilityStatement."""
    client = FHIRClient(settings={"app_id": "penstock-tests", "api_base": base})
    with client.server.session:
        assert client.prepare()
        yield client.server


def a_patient(server: FHIRServer, value: str = "1") -> Patient:
    """A new Patient as it is stored."""
    sent = Patient({"identifier": [{"system": "urn:mrn", "value": value}]})
    return Patient.read(Patient(sent.create(server)).id, server)


def an_observation(patient: Patient, number: int = 1) -> Observation:
    return Observation(
        {
            "status": "final",
            "code": HEART_RATE,
            "subject": {"reference": f"Patient/{patient.id}"},
            "effectiveDateTime": f"2024-01-{number:02}",
            "valueQuantity": {"value": 60 + number, "unit": "/min"},
        }
    )


def observations(patient: Patient, **parameters: str) -> FHIRSearch:
    return Observation.where({"subject": f"Patient/{patient.id}", **parameters})


def refusal(error: requests.HTTPError) -> tuple[int, str]:
    """The status and the code of the outcome."""
    outcome = OperationOutcome(error.response.json())
    return error.response.status_code, outcome.issue[0].code


def test_the_capability_statement_is_one_and_names_what_is_used(server: FHIRServer) -> None:
    statement = server.capabilityStatement
    assert statement.fhirVersion == "4.0.1"
    [rest] = statement.rest
    patient = next(one for one in rest.resource if one.type == "Patient")
    assert {one.code for one in patient.interaction} >= {"create", "read", "update", "delete"}
    assert {one.code for one in rest.interaction} >= {"batch", "transaction"}
    assert "Observation:subject" in next(
        one.searchInclude for one in rest.resource if one.type == "Observation"
    )


def test_what_is_created_is_read_back_the_same(server: FHIRServer) -> None:
    patient = a_patient(server)
    sent = an_observation(patient)
    stored = Observation.read(Observation(sent.create(server)).id, server)
    assert {**stored.as_json(), "id": None, "meta": None} == {
        **sent.as_json(),
        "id": None,
        "meta": None,
    }
    assert stored.meta.versionId == "1"


def test_every_page_is_read_through_its_classes(server: FHIRServer) -> None:
    patient = a_patient(server)
    for number in range(1, 13):
        an_observation(patient, number).create(server)
    pages = list(observations(patient, _count="5", _sort="date").perform_iter(server))
    assert [len(page.entry) for page in pages] == [5, 5, 2]
    assert [page.type for page in pages] == ["searchset"] * 3
    values = [entry.resource.valueQuantity.value for page in pages for entry in page.entry]
    assert values == [60 + number for number in range(1, 13)]

    found = observations(patient, date="ge2024-01-10").perform_resources_iter(server)
    assert [one.valueQuantity.value for one in found] == [70, 71, 72]


def test_its_own_form_of_a_search_is_understood(server: FHIRServer) -> None:
    patient = a_patient(server)
    an_observation(patient).create(server)
    for struct in (
        {"code": {"$or": ["http://loinc.org|8867-4", "http://loinc.org|8310-5"]}},
        {"code": {"$and": ["8867-4", "http://loinc.org|"]}},
        {"subject:Patient": patient.id, "status": "final"},
        {"value-string": {"$missing": "true"}},
        {"subject.identifier": "urn:mrn|1"},
    ):
        assert len(list(Observation.where(struct).perform_resources_iter(server))) == 1, struct
    searched = observations(patient).include("subject", Observation)
    modes = [entry.search.mode for page in searched.perform_iter(server) for entry in page.entry]
    assert modes == ["match", "include"]


def test_an_update_makes_a_version_and_an_old_if_match_fails(server: FHIRServer) -> None:
    patient = a_patient(server)
    patient.gender = "female"
    assert Patient(patient.update(server)).meta.versionId == "2"

    server.session.headers["If-Match"] = 'W/"1"'
    with pytest.raises(requests.HTTPError) as refused:
        patient.update(server)
    assert refusal(refused.value) == (412, "conflict")
    server.session.headers["If-Match"] = 'W/"2"'
    assert Patient(patient.update(server)).meta.versionId == "3"


def test_a_conditional_create_finds_what_is_there(server: FHIRServer) -> None:
    server.session.headers["If-None-Exist"] = "identifier=urn:mrn|1"
    first, again = a_patient(server), a_patient(server)
    assert (again.id, again.meta.versionId) == (first.id, "1")


def test_a_transaction_is_a_bundle_of_its_classes(server: FHIRServer) -> None:
    patient = a_patient(server)
    entries = [
        {
            "fullUrl": "urn:uuid:1f4e8a5c-0d0b-4a3a-9a53-8a5f6a6fbf10",
            "resource": {"resourceType": "Device", "status": "active"},
            "request": {"method": "POST", "url": "Device"},
        },
        {
            "resource": {
                **an_observation(patient).as_json(),
                "device": {"reference": "urn:uuid:1f4e8a5c-0d0b-4a3a-9a53-8a5f6a6fbf10"},
            },
            "request": {"method": "POST", "url": "Observation"},
        },
        {"request": {"method": "GET", "url": "Observation?device:missing=false"}},
    ]
    sent = Bundle({"type": "transaction", "entry": entries})
    answer = Bundle(server.post_json("", sent.as_json()).json())
    assert answer.type == "transaction-response"
    assert [entry.response.status[:3] for entry in answer.entry] == ["201", "201", "200"]
    [found] = answer.entry[2].resource.entry
    assert f"/{found.resource.device.reference}/_history/1" in answer.entry[0].response.location


def test_a_history_shows_the_deletion(server: FHIRServer) -> None:
    patient = a_patient(server)
    patient.active = True
    patient.update(server)
    patient.delete(server)
    with pytest.raises(requests.HTTPError) as refused:
        Patient.read(patient.id, server)
    assert refusal(refused.value) == (410, "deleted")

    history = Bundle.read_from(f"Patient/{patient.id}/_history", server)
    assert [entry.request.method for entry in history.entry] == ["DELETE", "PUT", "PUT"]
    assert history.total == 3
    assert history.entry[1].resource.active is True
    old = Patient.read_from(f"Patient/{patient.id}/_history/1", server)
    assert (old.active, old.meta.versionId) == (None, "1")


def test_a_resource_that_is_wrong_is_refused_by_its_element(server: FHIRServer) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        server.post_json("Patient", {"resourceType": "Patient", "gender": "mermaid"})
    outcome = OperationOutcome(refused.value.response.json())
    assert outcome.issue[0].expression == ["Patient.gender"]
    assert refused.value.response.status_code == 422
