"""Bundles are taken apart; references inside them become real ones."""

import json

import pytest

from engine.errors import ResourceInvalid
from engine.fhir.body import minified
from engine.fhir.bundle import Entry, Skipped, is_to_unpack, unpack

ANNA = "urn:uuid:6f1f5c7e-9f5a-4a52-9d9a-0a4f6a0f7c11"


def bundle(*entries: dict | str, kind: str = "transaction") -> bytes:
    texts = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    raw = f'{{"resourceType":"Bundle","type":"{kind}","entry":[{",".join(texts)}]}}'
    return minified(raw.encode())


def entry(resource: dict, url: str = "", method: str = "POST") -> dict:
    return {"fullUrl": url, "resource": resource, "request": {"method": method, "url": "x"}}


PATIENT = {"resourceType": "Patient", "id": "p1"}


def observation(reference: str, **more) -> dict:
    return {"resourceType": "Observation", "id": "o1", "subject": {"reference": reference}} | more


def resource_of(taken: Entry | Skipped) -> dict:
    assert isinstance(taken, Entry)
    return json.loads(taken.body)


def test_entry_ids_are_kept_and_urns_become_them():
    patient, result = unpack(bundle(entry(PATIENT, ANNA), entry(observation(ANNA))))
    assert resource_of(patient) == PATIENT
    assert patient.id is None
    assert resource_of(result)["subject"] == {"reference": "Patient/p1"}


def test_resource_without_id_takes_its_fullurls_and_references_follow():
    nameless = {"resourceType": "Patient"}
    result, patient = unpack(bundle(entry(observation(ANNA)), entry(nameless, ANNA)))
    assert patient.id == ANNA.removeprefix("urn:uuid:")
    assert resource_of(result)["subject"]["reference"] == f"Patient/{patient.id}"


def test_urn_oid_is_an_identity_too():
    _, result = unpack(
        bundle(
            entry({"resourceType": "Patient"}, "urn:oid:1.2.3"), entry(observation("urn:oid:1.2.3"))
        )
    )
    assert resource_of(result)["subject"]["reference"] == "Patient/1.2.3"


def test_references_are_rewritten_at_any_depth_and_all_other_bytes_stay():
    text = (
        '{"resourceType":"Basic","id":"b","n":1.50,"s":"\\u00e9\\/","contained":[{"x":[{"reference":"%s"}]}]'
        ',"url":"%s","text":{"div":"<a href=\\"%s\\">\\"reference\\":\\"%s\\"</a>"}'
        ',"x\\"reference":"%s","\\\\":{"reference":"%s"}}'
    )
    raw = text % ((ANNA,) * 6)
    _, basic = unpack(bundle(entry(PATIENT, ANNA), '{"resource":' + raw + "}"))
    kept = text % ("Patient/p1", ANNA, ANNA, ANNA, ANNA, "Patient/p1")
    assert basic.body == kept.encode()


def test_conditional_references_are_counted_and_stored_as_they_are():
    _, result = unpack(bundle(entry(PATIENT, ANNA), entry(observation("Patient?identifier=a|b"))))
    assert result.conditional == 1
    assert resource_of(result)["subject"]["reference"] == "Patient?identifier=a|b"


@pytest.mark.parametrize("reference", ["Patient/x", "http://else/Patient/1", "#in"])
def test_other_references_stay_and_are_not_counted(reference):
    (result,) = unpack(bundle(entry(observation(reference))))
    assert resource_of(result)["subject"]["reference"] == reference
    assert (result.conditional, result.unresolved) == (0, 0)


def test_references_to_entries_that_are_not_there_are_counted():
    (result,) = unpack(bundle(entry(observation(ANNA))))
    assert result.unresolved == 1
    assert resource_of(result)["subject"]["reference"] == ANNA


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "PATCH"])
def test_entries_that_write_no_resource_are_skipped_with_their_number(method):
    _, skipped = unpack(bundle(entry(PATIENT), entry(PATIENT, method=method)))
    assert isinstance(skipped, Skipped)
    assert skipped.number == 2
    assert f"its request is {method}" in skipped.reason


def test_unknown_request_methods_are_not_repeated():
    (skipped,) = unpack(bundle(entry(PATIENT, method="Jane Doe")))
    assert "Jane" not in skipped.reason


def test_entries_without_a_resource_and_search_outcomes_are_skipped():
    outcome = {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}}
    empty, told = unpack(bundle({"fullUrl": "x"}, outcome, kind="searchset"))
    assert "no resource" in empty.reason
    assert "about the search" in told.reason


def test_one_fullurl_for_two_resources_is_refused_for_both():
    other = {"resourceType": "Patient", "id": "p2"}
    first, second, result = unpack(
        bundle(entry(PATIENT, ANNA), entry(other, ANNA), entry(observation(ANNA)))
    )
    assert "fullUrl" in first.reason and "fullUrl" in second.reason
    assert result.unresolved == 1


def test_bundle_in_a_bundle_stays_whole():
    inner = {"resourceType": "Bundle", "id": "in", "type": "document"} | observation(ANNA)
    inner["resourceType"] = "Bundle"
    _, kept = unpack(bundle(entry(PATIENT, ANNA), entry(inner)))
    assert resource_of(kept) == inner


@pytest.mark.parametrize("kind", ["transaction", "batch", "collection", "searchset"])
def test_bundles_that_carry_resources_are_unpacked(kind):
    assert is_to_unpack(bundle(kind=kind))


@pytest.mark.parametrize("kind", ["document", "message"])
def test_documents_and_messages_are_resources(kind):
    assert not is_to_unpack(bundle(kind=kind))


def test_what_is_no_bundle_is_a_resource():
    assert not is_to_unpack(b'{"resourceType":"Patient","type":"transaction"}')
    assert not is_to_unpack(b"{}")


@pytest.mark.parametrize("kind", ["history", "Jane Doe"])
def test_other_bundles_are_refused_without_repeating_their_type(kind):
    with pytest.raises(ResourceInvalid, match="cannot be loaded") as caught:
        is_to_unpack(bundle(kind=kind))
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"entry":{}}', '{"entry":5}', '{"entry":null}'])
def test_entries_that_are_no_array_are_refused(text):
    with pytest.raises(ResourceInvalid, match="entries are not an array"):
        list(unpack(text.encode()))


@pytest.mark.parametrize("text", ["5", '{"fullUrl":5}', '{"request":[]}', '{"search":"x"}'])
def test_an_entry_of_another_shape_is_skipped_and_the_rest_is_kept(text):
    odd, patient = unpack(bundle(text, entry(PATIENT)))
    assert odd == Skipped(1, "it is not an entry as FHIR has it")
    assert resource_of(patient) == PATIENT


def test_bundle_without_entries_gives_none():
    assert list(unpack(b'{"resourceType":"Bundle","type":"batch"}')) == []
