"""Resources are made of what their types have, and every issue says where they are not."""

import itertools
from typing import Any

import msgspec
import pytest

from engine.fhir.body import DEPTH_MAX
from engine.fhir.validate import ISSUES_MAX, Validator

URL = "http://example.org/x"
EXTENSION = {"url": URL, "valueString": "x"}
CODE = {"text": "pulse"}
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"


def patient(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **members}


def observation(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": CODE, **members}


def condition(**status: Any) -> dict[str, Any]:
    subject = {"reference": "Patient/1"}
    return {"resourceType": "Condition", "subject": subject, "clinicalStatus": status}


def bundle(*resources: Any) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def nested_extension(levels: int, **innermost: Any) -> dict[str, Any]:
    inner: dict[str, Any] = {"url": URL, **innermost}
    for _ in range(levels):
        inner = {"url": URL, "extension": [inner]}
    return inner


SOUND = {
    "nothing but a type": patient(),
    "an id alone": patient(id="a-1.B"),
    "arrays and single values": patient(active=True, name=[{"family": "Doe", "given": ["A", "B"]}]),
    "a choice": observation(valueQuantity={"value": 1.0}),
    "a choice of another type": observation(valueBoolean=False),
    "two choices": observation(valueInteger=1, effectiveDateTime="2020"),
    "a primitive with an extension": patient(
        birthDate="2020", _birthDate={"extension": [EXTENSION]}
    ),
    "a primitive with an id": patient(birthDate="2020", _birthDate={"id": "x"}),
    "an extension in place of a primitive": patient(_birthDate={"extension": [EXTENSION]}),
    "an extension in place of a choice": observation(_valueString={"extension": [EXTENSION]}),
    "an extension in place of what is required": {
        "resourceType": "Observation",
        "_status": {"extension": [EXTENSION]},
        "code": CODE,
    },
    "padded arrays": patient(
        name=[{"given": ["A", None], "_given": [None, {"extension": [EXTENSION]}]}]
    ),
    "an array of extensions alone": patient(name=[{"_given": [{"extension": [EXTENSION]}]}]),
    "an extension of an extension's value": patient(
        extension=[{"url": URL, "_valueString": {"extension": [EXTENSION]}}]
    ),
    "extensions in each other": patient(extension=[nested_extension(20, valueCode="x")]),
    "contained resources": patient(contained=[observation(id="o"), patient(id="p")]),
    "resources in a bundle": bundle(patient(), bundle(patient(contained=[patient(id="p")]))),
    "parameters in each other": {
        "resourceType": "Parameters",
        "parameter": [{"name": "a", "part": [{"name": "b", "resource": patient()}]}],
    },
    "an element that leads back to itself": {
        "resourceType": "Questionnaire",
        "status": "draft",
        "item": [
            {
                "linkId": "1",
                "type": "group",
                "item": [
                    {"linkId": "2", "type": "group", "item": [{"linkId": "3", "type": "date"}]}
                ],
            }
        ],
    },
    "an element of the type of another": observation(
        component=[{"code": CODE, "referenceRange": [{"text": "low"}]}]
    ),
    "a narrative": patient(text={"status": "empty", "div": "<div xmlns='x'></div>"}),
    "a required code": condition(coding=[{"system": CLINICAL, "code": "active"}]),
    "a required code among others": condition(
        coding=[{"system": "urn:own", "code": "x"}, {"system": CLINICAL, "code": "active"}]
    ),
    "an extension in place of a code": condition(extension=[EXTENSION]),
    "a code whose set is not known here": patient(
        extension=[{"url": URL, "valueMoney": {"value": 1, "currency": "EUR"}}]
    ),
}


@pytest.mark.parametrize("resource", SOUND.values(), ids=SOUND)
def test_sound_resource_has_no_issues(validator, resource):
    assert validator.check(resource) == []
    assert validator.check_body(msgspec.json.encode(resource)) == []


# What is wrong: the resource, the code of the one issue, and its expression.
FLAWED: dict[str, tuple[Any, str, str]] = {
    "no type": ({"id": "1"}, "required", "Resource.resourceType"),
    "a type that is a number": ({"resourceType": 1}, "value", "Resource.resourceType"),
    "a type that does not exist": ({"resourceType": "Pet"}, "value", "Resource.resourceType"),
    "an abstract type": ({"resourceType": "DomainResource"}, "value", "Resource.resourceType"),
    "a data type": ({"resourceType": "HumanName"}, "value", "Resource.resourceType"),
    "an unknown element": (patient(colour="x"), "structure", "Patient"),
    "an unknown element below": (patient(name=[{"first": "x"}]), "structure", "Patient.name[0]"),
    "an element of another resource": (patient(status="x"), "structure", "Patient"),
    "a resource type in a data type": (
        patient(name=[{"resourceType": "HumanName", "text": "x"}]),
        "structure",
        "Patient.name[0]",
    ),
    "an empty object": (patient(maritalStatus={}), "structure", "Patient.maritalStatus"),
    "an empty array": (patient(name=[]), "structure", "Patient.name"),
    "an empty string": (patient(birthDate=""), "value", "Patient.birthDate"),
    "an empty text": (patient(name=[{"text": ""}]), "value", "Patient.name[0].text"),
    "null": (patient(active=None), "structure", "Patient.active"),
    "null in an array of objects": (patient(name=[None]), "structure", "Patient.name[0]"),
    "null in an array of primitives": (
        patient(name=[{"given": ["A", None]}]),
        "structure",
        "Patient.name[0].given[1]",
    ),
    "no array": (patient(name={"text": "x"}), "structure", "Patient.name"),
    "an array of a single element": (patient(active=[True]), "structure", "Patient.active"),
    "an array of a single object": (observation(subject=[{}]), "structure", "Observation.subject"),
    "an array in an array": (patient(name=[[]]), "structure", "Patient.name[0]"),
    "an object for a primitive": (patient(birthDate={}), "structure", "Patient.birthDate"),
    "a primitive for an object": (patient(maritalStatus="M"), "structure", "Patient.maritalStatus"),
    "a string for a boolean": (patient(active="true"), "structure", "Patient.active"),
    "a number for a string": (patient(birthDate=2020), "structure", "Patient.birthDate"),
    "a required element": (
        {"resourceType": "Observation", "status": "final"},
        "required",
        "Observation.code",
    ),
    "a required element below": (
        patient(link=[{"type": "refer"}]),
        "required",
        "Patient.link[0].other",
    ),
    "two types of a choice": (
        observation(valueString="x", valueBoolean=True),
        "structure",
        "Observation.value",
    ),
    "two types of a choice, one by its extension": (
        observation(valueString="x", _valueBoolean={"extension": [EXTENSION]}),
        "structure",
        "Observation.value",
    ),
    "a type that a choice has not": (observation(valueUri="x"), "structure", "Observation"),
    "a choice without type": (observation(value="x"), "structure", "Observation"),
    "a code that is not allowed": (patient(gender="m"), "value", "Patient.gender"),
    "a code that is no string": (patient(gender=1), "structure", "Patient.gender"),
    "a concept of another system": (
        condition(coding=[{"system": "urn:own", "code": "active"}]),
        "value",
        "Condition.clinicalStatus",
    ),
    "a concept of text alone": (condition(text="active"), "value", "Condition.clinicalStatus"),
    "an extension beside an object": (
        patient(_name=[{"extension": [EXTENSION]}]),
        "structure",
        "Patient",
    ),
    "an unknown element beside a primitive": (
        patient(birthDate="2020", _birthDate={"value": "x"}),
        "structure",
        "Patient.birthDate",
    ),
    "nothing beside a primitive": (
        patient(birthDate="2020", _birthDate={}),
        "structure",
        "Patient.birthDate",
    ),
    "an id alone in place of a primitive": (
        patient(_birthDate={"id": "x"}),
        "structure",
        "Patient.birthDate",
    ),
    "null beside a primitive": (
        patient(birthDate="2020", _birthDate=None),
        "structure",
        "Patient.birthDate",
    ),
    "an array beside a single primitive": (
        patient(birthDate="2020", _birthDate=[{"id": "x"}]),
        "structure",
        "Patient.birthDate",
    ),
    "an object beside an array": (
        patient(name=[{"given": ["A"], "_given": {"id": "x"}}]),
        "structure",
        "Patient.name[0].given",
    ),
    "arrays of different length": (
        patient(name=[{"given": ["A"], "_given": [{"id": "x"}, {"extension": [EXTENSION]}]}]),
        "structure",
        "Patient.name[0].given",
    ),
    "null in both arrays, with others": (
        patient(name=[{"given": ["A", None], "_given": [{"id": "x"}, None]}]),
        "structure",
        "Patient.name[0].given[1]",
    ),
    "null in both arrays": (
        patient(name=[{"_given": [None, {"extension": [EXTENSION]}]}]),
        "structure",
        "Patient.name[0].given[0]",
    ),
    "an object with an id alone": (
        patient(maritalStatus={"id": "x"}),
        "structure",
        "Patient.maritalStatus",
    ),
    "an extension without url": (
        patient(extension=[{"valueString": "x"}]),
        "required",
        "Patient.extension[0].url",
    ),
    "an extension of nothing": (
        patient(extension=[{"url": URL}]),
        "structure",
        "Patient.extension[0]",
    ),
    "an extension with a value and extensions": (
        patient(extension=[{**EXTENSION, "extension": [EXTENSION]}]),
        "structure",
        "Patient.extension[0]",
    ),
    "a flaw in a contained resource": (
        patient(contained=[patient(active=1)]),
        "structure",
        "Patient.contained[0].active",
    ),
    "a contained resource in a contained one": (
        patient(contained=[patient(contained=[patient()])]),
        "structure",
        "Patient.contained[0].contained",
    ),
    "a contained resource of no type": (
        patient(contained=[{"id": "x"}]),
        "required",
        "Patient.contained[0].resourceType",
    ),
    "a flaw in a resource of a bundle": (
        bundle(patient(), patient(name=[{"use": "x"}])),
        "value",
        "Bundle.entry[1].resource.name[0].use",
    ),
    "a resource that is no object": (bundle("x"), "structure", "Bundle.entry[0].resource"),
    "a flaw in an element of the type of another": (
        observation(component=[{"code": CODE, "referenceRange": [{"texts": "low"}]}]),
        "structure",
        "Observation.component[0].referenceRange[0]",
    ),
    "a flaw below many extensions": (
        patient(extension=[nested_extension(2, valueCode=1)]),
        "structure",
        "Patient.extension[0].extension[0].extension[0].value",
    ),
    "a narrative without div": (
        patient(text={"status": "empty"}),
        "required",
        "Patient.text.div",
    ),
    "a narrative that is no div": (
        patient(text={"status": "empty", "div": "<p>x</p>"}),
        "value",
        "Patient.text.div",
    ),
}


@pytest.mark.parametrize(("resource", "code", "expression"), FLAWED.values(), ids=FLAWED)
def test_flaw_is_one_issue_with_its_place(validator, resource, code, expression):
    issues = validator.check(resource)
    assert [(one.code, one.expression) for one in issues] == [(code, expression)]
    assert issues[0].severity == "error"
    assert issues[0].diagnostics
    assert validator.check_body(msgspec.json.encode(resource)) == issues


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_what_is_no_object_is_no_resource(validator, value):
    (issue,) = validator.check_body(msgspec.json.encode(value))
    assert (issue.code, issue.expression) == ("structure", "Resource")


def test_every_flaw_of_a_resource_is_told(validator):
    resource = observation(status="x", subject=[], colour=1, category=[{"coding": {}}, 1])
    del resource["code"]
    found = {(one.code, one.expression) for one in validator.check(resource)}
    assert found == {
        ("value", "Observation.status"),
        ("structure", "Observation.subject"),
        ("structure", "Observation"),
        ("structure", "Observation.category[0].coding"),
        ("structure", "Observation.category[1]"),
        ("required", "Observation.code"),
    }


def test_issues_are_bounded(validator):
    deep = [{"given": [1] * 100, "family": 1, "period": 1}] * 100
    resource = patient(name=deep, contact=[{"x": 1}] * 100, **{f"x{n}": 1 for n in range(100)})
    assert len(validator.check(resource)) == ISSUES_MAX
    assert len(validator.check(bundle(*[resource] * 100))) == ISSUES_MAX


def test_issue_holds_no_content(validator):
    secret = "Dorothea"
    flaws = [secret, [secret], {secret: secret}, {secret.lower() * 20: 1}, [{"use": secret}]]
    names = ["name", "gender", "birthDate", "maritalStatus", "_birthDate", secret]
    for name, flaw in itertools.product(names, flaws):
        issues = validator.check(patient(**{name: flaw}))
        assert issues
        for issue in issues:
            assert secret.lower() not in f"{issue.diagnostics}{issue.expression}".lower()


def test_flaw_at_the_greatest_depth_takes_no_longer_than_its_length(validator):
    """Each value is looked at once, however deep the flaw: else this would never end."""
    flaw = patient(extension=[nested_extension((DEPTH_MAX - 4) // 2, valueCode=1)])
    (issue,) = validator.check(flaw)
    assert issue.expression.endswith(".extension[0].value")


def test_number_beyond_a_double_is_refused(validator):
    body = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":'
    for number in (b"1e400", b"-1e400", b"9" * 400, b"9" * 5000):
        (issue,) = validator.check_body(body + b'{"value":%b}}' % number)
        assert issue.code == "value"
        assert "number" in issue.diagnostics


def test_every_type_is_checked(validator: Validator, definitions):
    """No resource type lets an unknown element pass, nor a required one be missing."""
    kinds = [one for one in definitions.types.values() if one.kind == "resource"]
    for model in kinds:
        if model.abstract:
            continue
        issues = validator.check({"resourceType": model.name, "colour": "x"})
        missing = [f"{model.name}.{one.name}" for one in model.elements if one.min > 0]
        assert [one.expression for one in issues] == [model.name, *missing]


def test_number_of_values_may_be_limited(definitions):
    """No type of R4 has such an element; other releases may."""
    model = definitions.types["Patient"]
    limited = tuple(
        msgspec.structs.replace(one, max=2) if one.name == "name" else one for one in model.elements
    )
    types = {**definitions.types, "Patient": msgspec.structs.replace(model, elements=limited)}
    validator = Validator(msgspec.structs.replace(definitions, types=types))
    assert validator.check(patient(name=[{"text": "x"}] * 2)) == []
    (issue,) = validator.check(patient(name=[{"text": "x"}] * 3))
    assert (issue.code, issue.expression) == ("structure", "Patient.name")
    assert "2" in issue.diagnostics
