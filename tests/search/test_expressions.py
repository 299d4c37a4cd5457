"""What the FHIRPath of search parameters means: paths, names and tests (FHIRPath N1)."""

import pytest

from engine.fhir.definitions.load import load_definitions
from engine.fhir.search.expressions import ElementPath, Expressions
from engine.fhir.search.fhirpath import (
    DEPTH_MAX,
    EXPRESSION_CHARACTERS_MAX,
    LINKS_MAX,
    ExpressionNotSupported,
    parse_expression,
)


@pytest.fixture(scope="module")
def expressions():
    return Expressions(load_definitions())


def names(paths: tuple[ElementPath, ...]) -> list[str]:
    return [path.name for path in paths]


def types(path: ElementPath) -> list[str]:
    return [chain.type for chain in path.chains]


def found(expressions: Expressions, expression: str, resource: dict) -> list:
    return [
        value
        for path in expressions.paths(expression, resource["resourceType"])
        for chain in path.chains
        for value in chain.values(resource)
    ]


# Paths and their names.


def test_only_the_parts_for_the_type_at_hand_are_taken(expressions):
    union = "Patient.name | Practitioner.name | Resource.meta.tag"
    assert names(expressions.paths(union, "Practitioner")) == [
        "Practitioner.name",
        "Resource.meta.tag",
    ]
    assert expressions.paths("Patient.name", "Observation") == ()


def test_elements_of_every_domain_resource_are_not_those_of_a_bundle(expressions):
    assert names(expressions.paths("DomainResource.text", "Patient")) == ["DomainResource.text"]
    assert expressions.paths("DomainResource.text", "Bundle") == ()


def test_a_choice_has_a_chain_for_each_of_its_types(expressions):
    (path,) = expressions.paths("Observation.effective", "Observation")
    assert path.name == "Observation.effective"
    assert types(path) == ["dateTime", "Period", "Timing", "instant"]
    assert [chain.steps[0].key for chain in path.chains][1] == "effectivePeriod"


@pytest.mark.parametrize(
    "expression",
    [
        *["(Observation.value as Quantity)", "Observation.value.as(Quantity)"],
        *["Observation.value.ofType(Quantity)", "Observation.value as FHIR.Quantity"],
        *["`Observation`.value.as(SimpleQuantity)"],
    ],
)
def test_all_ways_to_ask_for_a_type_are_one_path(expressions, expression):
    (path,) = expressions.paths(expression, "Observation")
    assert (path.name, types(path)) == ("Observation.value.ofType(Quantity)", ["Quantity"])


def test_a_type_that_is_the_only_one_is_not_part_of_the_name(expressions):
    assert names(expressions.paths("(Observation.code as CodeableConcept)", "Observation")) == [
        "Observation.code"
    ]


def test_a_type_is_found_with_its_special_cases(expressions):
    (path,) = expressions.paths("ConceptMap.source.as(uri)", "ConceptMap")
    assert types(path) == ["uri", "canonical"]


def test_a_path_goes_on_behind_one_type_of_a_choice(expressions):
    (path,) = expressions.paths("(Observation.value as CodeableConcept).text", "Observation")
    assert path.name == "Observation.value.ofType(CodeableConcept).text"
    resource = {"resourceType": "Observation", "valueCodeableConcept": {"text": "x"}}
    assert path.chains[0].values(resource) == ["x"]


def test_what_a_reference_must_lead_to_is_the_paths_target(expressions):
    (path,) = expressions.paths("Observation.subject.where(resolve() is Patient)", "Observation")
    assert path.target == "Patient"
    (same,) = expressions.paths(
        "Observation.subject.where($this.resolve() is Patient)", "Observation"
    )
    assert same.target == "Patient"


def test_a_path_is_single_only_if_no_array_lies_on_it(expressions):
    def single(expression: str) -> bool:
        return expressions.paths(expression, "Patient")[0].chains[0].single

    assert single("Patient.birthDate")
    assert single("Patient.contact[0].gender")
    assert not single("Patient.contact.gender")


# Filters.

PATIENT = {
    "resourceType": "Patient",
    "active": False,
    "telecom": [
        {"system": "phone", "value": "1"},
        {"system": "email", "value": "2"},
        {"value": "3"},
        None,
    ],
    "name": [{"family": "A", "given": ["B", None, "C"]}, {"given": ["D"]}],
    "extension": [
        {"url": "http://x.example/a", "valueString": "yes"},
        {"url": "http://x.example/b", "valueInteger": 1},
    ],
}


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("Patient.telecom.where(system='phone').value", ["1"]),
        ("Patient.telecom.where(system!='phone').value", ["2"]),
        ("Patient.telecom.where(system.exists().not()).value", ["3"]),
        ("Patient.telecom.where(system.empty()).value", ["3"]),
        ("Patient.telecom.where(system='phone' or value='3').value", ["1", "3"]),
        ("Patient.telecom.where(system='phone' and value='3').value", []),
        ("Patient.telecom[1].value", ["2"]),
        ("Patient.telecom[9].value", []),
        ("Patient.name.given", ["B", "C", "D"]),
        ("Patient.name.given.where($this='C')", ["C"]),
        ("Patient.name.where(family.exists()).given", ["B", "C"]),
        ("Patient.name.exists(family='A')", [True]),
        ("Patient.extension('http://x.example/a').value.ofType(string)", ["yes"]),
        ("Patient.extension.where(url='http://x.example/b').value.as(integer)", [1]),
        ("Patient.where(hasExtension('http://x.example/c')).active", []),
        ("Patient.where(active=false).name.family", ["A"]),
        ("Patient.where(active.not()).name.family", ["A"]),
        ("Patient.active = true", [False]),
        ("Patient.birthDate.exists()", [False]),
        ("Patient.birthDate = '2000'", []),  # empty, neither true nor false
        ("Patient.extension.where(value=true).url", []),  # 1 is not true
    ],
)
def test_a_filter_keeps_what_fhirpath_keeps(expressions, expression, values):
    assert found(expressions, expression, PATIENT) == values


@pytest.mark.parametrize(
    ("members", "deceased"),
    [
        ({}, False),
        ({"deceasedBoolean": False}, False),
        ({"deceasedBoolean": True}, True),
        ({"deceasedDateTime": "2020"}, True),
    ],
)
def test_a_patient_is_deceased_unless_it_says_otherwise(expressions, members, deceased):
    expression = "Patient.deceased.exists() and Patient.deceased != false"
    assert found(expressions, expression, {"resourceType": "Patient", **members}) == [deceased]


def test_members_of_the_wrong_form_hold_nothing(expressions):
    odd = {"resourceType": "Patient", "name": {"family": "A"}, "active": [True], "contact": [1]}
    for expression in ("Patient.name.family", "Patient.active", "Patient.contact.gender"):
        assert found(expressions, expression, odd) == []


# Components of composites.


def test_a_component_is_relative_to_its_composite(expressions):
    (base,) = expressions.paths("Observation.component", "Observation")
    assert names(expressions.below("value.as(Quantity)", base)) == ["value.ofType(Quantity)"]
    (whole,) = expressions.paths("Observation", "Observation")
    assert names(expressions.below("code", whole)) == ["code"]


def test_a_misspelled_type_of_the_specification_is_understood(expressions):
    (base,) = expressions.paths("Observation", "Observation")
    (path,) = expressions.below("value.as(DateTime)", base)
    assert types(path) == ["dateTime"]


# What is refused.


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("Patient.nmae", "Patient.nmae"),
        ("nmae", "nmae"),
        ("Patient.name.matches('x')", "matches()"),
        ("Patient.name.given.first()", "first()"),
        ("Patient.name.given.count() > 1", "character 27"),
        ("Patient.managingOrganization.resolve().name", "resolve()"),
        ("Patient.birthDate.where(resolve() is Patient)", "no reference"),
        ("Patient.deceased.as(Quantity)", "never a Quantity"),
        ("Patient.contact.telecom[0]", "[0]"),
        ("%resource.name", "%resource"),
        ("Patient.name.where(use = text)", "literal"),
        ("Patient.name.", "character 14"),
        ("Patient..name", "character 9"),
        ("(Patient.name", "character 14"),
        ("'Patient'", "'Patient'"),
        ("", "character 1"),
        ("Patient.name | | x", "character 15"),
    ],
)
def test_what_is_not_supported_is_named(expressions, expression, named):
    with pytest.raises(ExpressionNotSupported) as caught:
        expressions.paths(expression, "Patient")
    assert named in str(caught.value)


def test_expressions_are_bounded():
    for text in (
        "a" * (EXPRESSION_CHARACTERS_MAX + 1),
        "(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1),
        ".".join("a" * (LINKS_MAX + 2)),
        " and ".join("a" * (LINKS_MAX + 2)),
    ):
        with pytest.raises(ExpressionNotSupported):
            parse_expression(text)


def test_a_union_may_be_long(expressions):
    long = " | ".join(["Patient.name"] * 1000)
    assert len(expressions.paths(long, "Patient")) == 1000
