"""What can be searched for at a tenant: published parameters, own ones, compartments."""

import msgspec
import pytest

from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.fhirpath import ExpressionNotSupported
from engine.fhir.search.own import OwnParameterInvalid
from engine.fhir.search.plan import WITHOUT_ROWS
from engine.fhir.search.readers import READABLE
from engine.fhir.search.registry import Release, path_names
from tests.support.index_rows import Indexed, r4

# Published parameters that are not supported, all of them.
REFUSED = {
    ("Location", "near"),
    ("MolecularSequence", "chromosome-variant-coordinate"),
    ("MolecularSequence", "chromosome-window-coordinate"),
    ("MolecularSequence", "referenceseqid-variant-coordinate"),
    ("MolecularSequence", "referenceseqid-window-coordinate"),
}


# Types of values that published parameters lead to and that nothing is indexed of: what the
# parameter's type can not be compared with.
NOT_READ = {
    (SearchKind.DATE, "Age"),
    (SearchKind.DATE, "Range"),
    (SearchKind.DATE, "string"),
    (SearchKind.QUANTITY, "SampledData"),
    (SearchKind.REFERENCE, "Attachment"),
    (SearchKind.REFERENCE, "Extension"),  # its value is read
    (SearchKind.STRING, "Extension"),
    (SearchKind.TOKEN, "Extension"),
}


def own(**members):
    """An own parameter: an Observation's value as a word."""
    return {
        "resourceType": "SearchParameter",
        "url": "http://example.org/SearchParameter/note",
        "status": "active",
        "code": "note",
        "base": ["Observation"],
        "type": "string",
        "expression": "Observation.note.text",
        **members,
    }


@pytest.fixture(scope="module")
def published():
    return Indexed()


# Published parameters.


def test_every_published_parameter_is_there_or_refused_with_a_reason(published):
    refused = set()
    for parameter in r4().definitions.parameters:
        for type in r4().concerned(parameter):
            if type == "Resource":
                continue
            found = published.search.parameter(type, parameter.code)
            reason = published.search.refused(type).get(parameter.code)
            assert (found is None) is (reason is not None), (type, parameter.code)
            if reason is not None:
                refused.add((type, parameter.code))
            else:
                assert (found.type, found.kind) == (type, parameter.kind)
    assert refused == REFUSED


def test_values_of_other_types_are_known_not_to_be_indexed():
    found = set()
    for parameter in r4().definitions.parameters:
        if parameter.kind in READABLE:
            for type in r4().concerned(parameter):
                for path in r4().expressions.paths(parameter.expression, type):
                    found |= {(parameter.kind, chain.type) for chain in path.chains}
    assert {(kind, type) for kind, type in found if type not in READABLE[kind]} == NOT_READ


def test_parameters_come_in_order_of_their_codes(published):
    codes = [parameter.code for parameter in published.search.parameters("Patient")]
    assert codes == sorted(codes)
    assert {"_id", "_lastUpdated", "_tag", "_profile", "_security", "_source", "name"} <= set(codes)


def test_parameters_of_all_types_are_those_of_every_resource(published):
    found = published.search.parameters("")
    assert [parameter.code for parameter in found] == [
        *["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"]
    ]
    assert {parameter.type for parameter in found} == {""}
    tag = published.search.parameter("Patient", "_tag")
    assert published.search.parameter("", "_tag").paths == tag.paths


def test_a_type_that_is_none_has_no_parameters(published):
    assert published.search.parameters("Nothing") == ()
    assert published.search.parameter("Nothing", "_tag") is None


def test_what_the_store_has_as_columns_has_no_paths(published):
    for code in WITHOUT_ROWS:
        assert published.search.parameter("Patient", code).paths == ()


def test_all_paths_of_all_parameters_have_numbers(published):
    for type in r4().types:
        for parameter in published.search.parameters(type):
            assert {path.name for path in parameter.paths} <= set(published.numbers)
            if parameter.kind is SearchKind.COMPOSITE:
                for component in parameter.components:
                    assert len(component.paths) == len(parameter.paths)
                    if component.kind in (SearchKind.TOKEN, SearchKind.URI):
                        assert {path.name for path in component.paths} <= set(published.numbers)


def test_names_are_sorted_and_each_once_and_the_same_every_time():
    names = path_names(r4(), [])
    assert names == sorted(set(names))
    assert names == path_names(Release(r4().definitions), [])


def test_a_reference_leads_only_where_its_element_may(published):
    assert published.search.parameter("AllergyIntolerance", "patient").targets == ("Patient",)
    assert published.search.parameter("Observation", "patient").targets == ("Patient",)
    subject = published.search.parameter("Observation", "subject")
    assert set(subject.targets) == {"Patient", "Group", "Device", "Location"}


def test_a_token_and_a_string_of_one_element_share_its_name(published):
    name = published.search.parameter("Patient", "name").paths
    assert published.search.parameter("Patient", "phonetic").paths == name


# Compartments (DESIGN 7).


def codes(published, compartment):
    return {
        type: [parameter.code for parameter in parameters]
        for type, parameters in published.search.compartment(compartment).items()
    }


def test_the_patient_compartment_follows_the_definition_and_the_design(published):
    found = codes(published, "Patient")
    assert found["Observation"] == ["subject", "performer"]
    assert found["Device"] == ["patient"]  # as in R5
    assert "Patient" not in found  # links are not followed
    assert "Organization" not in found


def test_other_compartments_are_as_they_are_published(published):
    assert codes(published, "Encounter")["Observation"] == ["encounter"]
    assert codes(published, "RelatedPerson")["Patient"] == ["link"]
    assert "Device" not in codes(published, "Encounter")
    assert codes(published, "Nothing") == {}


def test_every_parameter_of_a_published_compartment_is_supported(published):
    for compartment, types in r4().definitions.compartments.items():
        for type, wanted in types.items():
            for code in set(wanted) - {"{def}"}:
                assert published.search.parameter(type, code) is not None, (compartment, type)


# Own parameters.


def test_an_own_parameter_is_searched_and_indexed():
    indexed = Indexed([own()])
    parameter = indexed.search.parameter("Observation", "note")
    (path,) = parameter.paths
    rows = indexed.rows({"resourceType": "Observation", "note": [{"text": "Hallo"}]})
    assert indexed.at(rows.strings, path.name) == [("hallo", "Hallo", 3)]
    assert indexed.search.parameter("Patient", "note") is None
    assert indexed.search.generation == 7


def test_an_own_parameter_may_look_into_an_extension():
    expression = "Patient.extension('http://x.example/colour').value.as(code)"
    indexed = Indexed([own(base=["Patient"], type="token", expression=expression)])
    extension = [{"url": "http://x.example/colour", "valueCode": "red"}]
    tokens = indexed.tokens({"resourceType": "Patient", "extension": extension})
    (path,) = indexed.search.parameter("Patient", "note").paths
    assert (path.name, "", "red") in tokens


def test_an_own_parameter_of_all_resources_is_one_of_every_type():
    expression = "Resource.language"
    indexed = Indexed([own(base=["Resource"], type="token", expression=expression, code="lang")])
    of_all = indexed.search.parameter("", "lang")
    assert of_all.paths == indexed.search.parameter("Patient", "lang").paths
    tokens = indexed.tokens({"resourceType": "Binary", "language": "de"})
    assert (of_all.paths[0].name, "", "de") in tokens


@pytest.mark.parametrize("status", ["draft", "retired", "unknown", None])
def test_only_active_parameters_count(status):
    assert Indexed([own(status=status)]).search.parameter("Observation", "note") is None


def test_an_own_parameter_takes_the_place_of_a_published_one():
    replacing = own(code="status", type="token", expression="Observation.interpretation")
    indexed = Indexed([replacing])
    (path,) = indexed.search.parameter("Observation", "status").paths
    assert path.name.startswith("Observation.interpretation")
    # What the published one needs stays indexed, so it is complete when it comes back.
    resource = {"resourceType": "Observation", "status": "final"}
    assert ("Observation.status", "", "final") in indexed.tokens(resource)


def test_an_own_parameter_shares_the_rows_of_a_published_one(published):
    same = own(code="state", type="token", expression="Observation.status")
    indexed = Indexed([same])
    assert indexed.names == published.names
    assert indexed.search.parameter("Observation", "state").paths == (
        published.search.parameter("Observation", "status").paths
    )


def test_an_own_parameter_of_another_kind_has_rows_of_its_own(published):
    as_string = own(code="state", expression="Observation.status")
    indexed = Indexed([as_string])
    (path,) = indexed.search.parameter("Observation", "state").paths
    assert path.name not in published.numbers
    rows = indexed.rows({"resourceType": "Observation", "status": "final"})
    assert indexed.at(rows.strings, path.name) == [("final", "final", 3)]


@pytest.mark.parametrize(
    "expression",
    ["Observation.subject.where(resolve() is Group)", "Observation.note.author.as(Reference)"],
)
def test_an_own_reference_leaves_the_paths_of_published_ones_as_they_are(published, expression):
    group = own(code="group", type="reference", expression=expression, target=["Group"])
    indexed = Indexed([group])
    subject = published.search.parameter("Observation", "subject")
    assert indexed.search.parameter("Observation", "subject") == subject
    author = [{"authorReference": {"reference": "Group/1"}}]
    resource = {"resourceType": "Observation", "subject": {"reference": "Group/1"}, "note": author}
    (path,) = indexed.search.parameter("Observation", "group").paths
    assert indexed.targets(resource, path.name) == {indexed.keys.target("Group", "1")}
    assert indexed.targets(resource, "Observation.subject") == {indexed.keys.target("Group", "1")}


def test_an_own_reference_shares_the_paths_it_can(published):
    same = own(code="whom", type="reference", expression="Observation.subject", target=["Group"])
    indexed = Indexed([same])
    assert indexed.search.parameter("Observation", "whom").paths == (
        published.search.parameter("Observation", "subject").paths
    )


def test_an_own_composite_is_made_of_own_and_published_parameters():
    composite = own(
        url="http://example.org/SearchParameter/code-note",
        code="code-note",
        type="composite",
        expression="Observation",
        component=[
            {
                "definition": "http://hl7.org/fhir/SearchParameter/clinical-code",
                "expression": "code",
            },
            {"definition": own()["url"], "expression": "note.text"},
        ],
    )
    indexed = Indexed([own(), composite])
    parameter = indexed.search.parameter("Observation", "code-note")
    resource = {
        "resourceType": "Observation",
        "code": {"coding": [{"code": "a"}]},
        "note": [{"text": "Hallo"}],
    }
    term = indexed.keys.term(indexed.numbers[parameter.components[0].paths[0].name], "", "a")
    key = indexed.keys.composite(indexed.numbers[parameter.paths[0].name], [term])
    assert [row[1] for row in indexed.rows(resource).strings if row[0] == key] == ["hallo"]


def test_a_string_is_a_token_of_any_case_in_a_composite_too():
    number = own(
        url="http://example.org/SearchParameter/lot",
        code="lot",
        base=["Immunization"],
        type="token",
        expression="Immunization.lotNumber",
    )
    composite = own(
        code="lot-note",
        base=["Immunization"],
        type="composite",
        expression="Immunization",
        component=[
            {"definition": number["url"], "expression": "lotNumber"},
            {
                "definition": "http://hl7.org/fhir/SearchParameter/Immunization-status",
                "expression": "status",
            },
        ],
    )
    indexed = Indexed([number, composite])
    lot, status = indexed.search.parameter("Immunization", "lot-note").components
    assert lot.paths[0].folded and not status.paths[0].folded
    tokens = {
        indexed.rows({"resourceType": "Immunization", "lotNumber": text, "status": "done"}).tokens
        for text in ("ab1", "AB1")
    }
    assert len(tokens) == 1


def test_bodies_are_as_good_as_objects():
    body = msgspec.json.encode(own())
    assert path_names(r4(), [body]) == path_names(r4(), [own()])


@pytest.mark.parametrize(
    ("members", "element"),
    [
        ({"url": None}, "url"),
        ({"code": "a.b"}, "code"),
        ({"code": "a:b"}, "code"),
        ({"code": "_note"}, "code"),
        ({"code": ""}, "code"),
        ({"code": "a" * 65}, "code"),
        ({"base": []}, "base"),
        ({"base": ["Nothing"]}, "base"),
        ({"base": "Observation"}, "base"),
        ({"type": "special"}, "type"),
        ({"type": "text"}, "type"),
        ({"type": ["string"]}, "type"),
        ({"expression": ""}, "expression"),
        ({"target": ["Nothing"]}, "target"),
        ({"type": "composite"}, "component"),
        ({"type": "composite", "component": [{"definition": "x"}]}, "component"),
    ],
)
def test_what_is_no_parameter_is_refused_by_its_element(members, element):
    with pytest.raises(OwnParameterInvalid) as caught:
        path_names(r4(), [own(**members)])
    assert caught.value.expression == f"SearchParameter.{element}"


@pytest.mark.parametrize(
    "members",
    [
        {"expression": "Observation.nothing"},
        {"expression": "Patient.name"},
        {"expression": "Observation.code.coding.first()"},
        {"type": "quantity", "expression": "Observation.code"},
        {
            "type": "composite",
            "component": [
                {"definition": "http://nowhere.example", "expression": "code"},
                {"definition": "http://nowhere.example", "expression": "status"},
            ],
        },
    ],
)
def test_what_cannot_be_searched_here_is_refused_with_its_code(members):
    with pytest.raises(ExpressionNotSupported, match="'note'") as caught:
        path_names(r4(), [own(**members)])
    assert caught.value.expression == "SearchParameter.expression"


@pytest.mark.parametrize("body", [b"", b"[]", b"x"])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(OwnParameterInvalid):
        path_names(r4(), [body])
