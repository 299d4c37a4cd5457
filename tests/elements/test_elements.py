"""Parts of a resource keep their bytes, say that they are parts, and lack nothing mandatory."""

import json

import msgspec
import pytest

from engine.fhir.definitions.load import load_definitions
from engine.fhir.elements import Summary, with_elements, with_summary

TAG = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}
META = b'"meta":{"versionId":"3","lastUpdated":"2020-01-01T00:00:00.000Z"}'
# Digits and escapes that a careless re-encoding would change.
OBSERVATION = (
    rb'{"resourceType":"Observation","id":"o1",'
    + META
    + rb',"text":{"status":"generated","div":"<div>\u0041</div>"},'
    rb'"language":"en","extension":[{"url":"urn:x","valueDecimal":1.00}],'
    rb'"status":"final","_status":{"id":"s"},'
    rb'"category":[{"text":"\u0041\/"}],'
    rb'"code":{"id":"c","extension":[{"url":"urn:x","valueCode":"x"}],"text":"\u0041\/"},'
    rb'"valueQuantity":{"value":1.00,"unit":"\u00b5g"},'
    rb'"component":[{"code":{"text":"a"},"valueDecimalX":1,"valueInteger":7,'
    rb'"interpretation":[{"text":"high"}]}],'
    rb'"note":[{"text":"x"}]}'
)


@pytest.fixture(scope="module")
def definitions():
    return load_definitions()


def members(body: bytes) -> set[str]:
    return set(msgspec.json.decode(body))


def tags(body: bytes) -> list[dict]:
    return msgspec.json.decode(body)["meta"]["tag"]


def test_summary_has_the_elements_that_are_marked_and_the_mandatory_ones(definitions):
    body = with_summary(OBSERVATION, Summary.TRUE, definitions)
    assert members(body) == {
        "resourceType",
        "id",
        "meta",
        "status",
        "_status",
        "code",
        "valueQuantity",
        "component",
    }


def test_summary_reaches_into_elements(definitions):
    body = msgspec.json.decode(with_summary(OBSERVATION, Summary.TRUE, definitions))
    assert body["code"] == {"text": "A/"}  # neither its id nor its extension
    assert body["component"] == [{"code": {"text": "a"}, "valueInteger": 7}]


def test_what_a_summary_keeps_has_its_bytes(definitions):
    body = with_summary(OBSERVATION, Summary.TRUE, definitions)
    assert rb'"code":{"text":"\u0041\/"}' in body
    assert rb'"valueQuantity":{"value":1.00,"unit":"\u00b5g"}' in body
    assert body.startswith(b'{"resourceType":"Observation","id":"o1","meta":{"versionId":"3",')


def test_text_is_the_narrative_and_what_is_mandatory(definitions):
    body = with_summary(OBSERVATION, Summary.TEXT, definitions)
    assert members(body) == {"resourceType", "id", "meta", "text", "status", "_status", "code"}
    assert rb'"text":{"status":"generated","div":"<div>\u0041</div>"}' in body


def test_data_is_all_but_the_narrative(definitions):
    body = with_summary(OBSERVATION, Summary.DATA, definitions)
    assert members(body) == members(OBSERVATION) - {"text"}
    assert body.replace(b',"tag":[%b]' % msgspec.json.encode(TAG), b"") == OBSERVATION.replace(
        rb',"text":{"status":"generated","div":"<div>\u0041</div>"}', b""
    )


@pytest.mark.parametrize("summary", Summary)
def test_every_part_says_that_it_is_one(definitions, summary):
    assert tags(with_summary(OBSERVATION, summary, definitions)) == [TAG]


def test_tag_is_added_to_those_that_are_there(definitions):
    own = b'{"system":"urn:x","code":"\\u0041"}'
    body = OBSERVATION.replace(META, b'"meta":{"tag":[%b],"versionId":"3"}' % own)
    body = with_elements(body, ["note"], definitions)
    assert b'"meta":{"tag":[%b,%b],"versionId":"3"}' % (own, msgspec.json.encode(TAG)) in body


def test_tag_is_not_added_twice(definitions):
    once = with_elements(OBSERVATION, ["note"], definitions)
    assert with_elements(once, ["note"], definitions) == once


def test_tag_comes_with_its_own_meta_where_there_is_none(definitions):
    body = with_elements(b'{"resourceType":"Basic","id":"b"}', ["code"], definitions)
    assert msgspec.json.decode(body)["meta"] == {"tag": [TAG]}
    body = with_elements(b'{"resourceType":"Basic","meta":{}}', ["code"], definitions)
    assert msgspec.json.decode(body)["meta"] == {"tag": [TAG]}


@pytest.mark.parametrize("meta", [b"1", b'{"tag":1}', b'{"tag":[1]}', b'{"tag":[{"code":[]}]}'])
def test_meta_that_was_never_validated_breaks_nothing(definitions, meta):
    body = b'{"resourceType":"Basic","meta":%b,"note":1}' % meta
    assert "note" not in members(with_elements(body, ["code"], definitions))


def test_elements_are_those_asked_for_and_the_mandatory_ones(definitions):
    body = with_elements(OBSERVATION, ["note", "category"], definitions)
    assert members(body) == {
        "resourceType",
        "id",
        "meta",
        "status",
        "_status",
        "code",
        "note",
        "category",
    }
    assert rb'"code":{"id":"c","extension":[{"url":"urn:x","valueCode":"x"}]' in body


@pytest.mark.parametrize("name", ["value", "value[x]", "valueQuantity", "Observation.value"])
def test_choice_has_several_names(definitions, name):
    assert "valueQuantity" in members(with_elements(OBSERVATION, [name], definitions))


def test_choice_of_another_type_is_another_element(definitions):
    body = with_elements(OBSERVATION, ["valueString"], definitions)
    assert "valueQuantity" not in members(body)


def test_element_beside_a_primitive_goes_with_it(definitions):
    body = b'{"resourceType":"Patient","birthDate":"2020","_birthDate":{"id":"x"},"active":true}'
    kept = members(with_elements(body, ["birthDate"], definitions))
    assert kept == {"resourceType", "meta", "birthDate", "_birthDate"}


def test_longer_path_counts_by_its_first_name(definitions):
    body = with_elements(OBSERVATION, ["component.code"], definitions)
    assert "component" in members(body)


def test_element_of_one_type_leaves_the_others_whole(definitions):
    assert with_elements(OBSERVATION, ["Patient.name"], definitions) == OBSERVATION
    body = with_elements(OBSERVATION, ["Patient.name", "Observation.note"], definitions)
    assert "note" in members(body)
    assert "category" not in members(body)


def test_element_without_type_is_of_all_types(definitions):
    body = with_elements(OBSERVATION, ["Patient.name", "note"], definitions)
    assert "note" in members(body)
    assert "category" not in members(body)


def test_element_that_does_not_exist_asks_for_nothing_more(definitions):
    body = with_elements(OBSERVATION, ["colour"], definitions)
    assert members(body) == {"resourceType", "id", "meta", "status", "_status", "code"}


def test_resources_in_a_bundle_are_summarized_as_their_types_say(definitions):
    body = json.dumps(
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": msgspec.json.decode(OBSERVATION)}],
        },
        separators=(",", ":"),
    ).encode()
    bundle = msgspec.json.decode(with_summary(body, Summary.TRUE, definitions))
    resource = bundle["entry"][0]["resource"]
    assert "note" not in resource
    assert resource["valueQuantity"] == {"value": 1.0, "unit": "µg"}


def test_type_that_is_not_known_keeps_its_name(definitions):
    body = b'{"resourceType":"Pet","id":"1","meta":{"versionId":"1"},"colour":"x"}'
    for summary in (Summary.TRUE, Summary.TEXT):
        assert members(with_summary(body, summary, definitions)) == {"resourceType", "id", "meta"}
