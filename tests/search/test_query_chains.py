"""Chains and reverse chains, and where they lead nowhere."""

import pytest

from engine.errors import BadParameter, NotSupported, TooCostly, UnknownParameter
from engine.fhir.search.criteria import DEPTH_MAX
from engine.fhir.search.tree import Chain, Compare, Has, Ids, Listed, Missing, Modifier, Text, Token
from tests.support.published_search import criterion, parse


def expect_refusal(type, name, text, error=BadParameter, **how):
    with pytest.raises(error) as caught:
        parse(type, (name, text), **how)
    assert caught.value.expression == name
    return str(caught.value)


def step(found):
    """The type and criterion of a chain that goes on in one type."""
    assert isinstance(found, Chain)
    (only,) = found.targets
    return only


def test_typed_chain_goes_on_in_its_type():
    found = criterion("Observation", "subject:Patient.name", "peter")
    assert (found.parameter.type, found.parameter.code) == ("Observation", "subject")
    type, inner = step(found)
    assert type == "Patient"
    assert (inner.parameter.type, inner.parameter.code) == ("Patient", "name")
    assert inner.values == (Text("peter"),)


def test_chain_of_several_levels_nests():
    found = criterion("Observation", "subject:Patient.organization.name", "acme")
    _, organization = step(found)
    type, name = step(organization)
    assert organization.parameter.code == "organization"
    assert (type, name.parameter.type, name.parameter.code) == (
        "Organization",
        "Organization",
        "name",
    )


def test_untyped_chain_goes_on_in_each_target_that_has_the_parameter():
    found = criterion("Observation", "subject.name", "x")
    assert {type for type, _ in found.targets} == {"Patient", "Location"}
    assert all(inner.parameter.type == type for type, inner in found.targets)


def test_untyped_chain_reads_the_value_as_each_target_does():
    # `entity` may be anything; `code` is a token of many types.
    found = criterion("AuditEvent", "entity.code", "http://loinc.org|1-8")
    assert {"Observation", "Condition"} < {type for type, _ in found.targets}
    assert {inner.values for _, inner in found.targets} == {(Token("http://loinc.org", "1-8"),)}


def test_untyped_chain_leaves_out_targets_that_cannot_read_the_value():
    # `start` is a token of GraphDefinition and a date of Slot.
    found = criterion("Provenance", "target.start", "soon")
    assert [type for type, _ in found.targets] == ["GraphDefinition"]
    found = criterion("Provenance", "target.start", "2020")
    assert [type for type, _ in found.targets] == ["GraphDefinition", "Slot"]


def test_modifier_stands_at_the_end_of_a_chain():
    _, inner = step(criterion("Observation", "subject:Patient.family:exact", "Son"))
    assert inner.modifier is Modifier.EXACT
    _, inner = step(criterion("Observation", "subject:Patient.birthdate:missing", "true"))
    assert isinstance(inner, Missing)


def test_chain_ends_in_parameters_of_every_resource():
    assert step(criterion("Observation", "subject:Patient._id", "1")) == ("Patient", Ids(("1",)))
    _, inner = step(criterion("Observation", "subject:Patient._tag", "s|vip"))
    assert inner.values == (Token("s", "vip"),)
    assert step(criterion("Observation", "subject:Patient._list", "7"))[1] == Listed("7")


def test_reverse_chain_looks_at_who_points_here():
    found = criterion("Patient", "_has:Observation:patient:code", "1234-5")
    assert isinstance(found, Has)
    assert (found.parameter.type, found.parameter.code) == ("Observation", "patient")
    assert isinstance(found.criterion, Compare)
    assert found.criterion.parameter.type == "Observation"
    assert found.criterion.values == (Token(None, "1234-5"),)


def test_reverse_chain_nests():
    name = "_has:Observation:patient:_has:AuditEvent:entity:agent:Practitioner"
    found = criterion("Patient", name, "7")
    inner = found.criterion
    assert (inner.parameter.type, inner.parameter.code) == ("AuditEvent", "entity")
    assert inner.criterion.parameter.code == "agent"
    assert inner.criterion.values[0].types == ("Practitioner",)


def test_reverse_chain_stands_inside_a_chain():
    _, inner = step(criterion("Encounter", "subject:Patient._has:Group:member:_id", "g"))
    assert isinstance(inner, Has)
    assert inner.criterion == Ids(("g",))


def test_chain_stands_inside_a_reverse_chain():
    found = criterion("Patient", "_has:Observation:patient:performer:Practitioner.family", "x")
    assert step(found.criterion)[0] == "Practitioner"


def test_reverse_chain_takes_modifiers_of_its_end():
    found = criterion("Patient", "_has:Observation:patient:status:not", "final")
    assert found.criterion.modifier is Modifier.NOT


# Nowhere.


@pytest.mark.parametrize(
    "name",
    [
        "subject:Patient.nothing",
        "subject.nothing",
        "subject:Patient.organization.nothing",
        "nothing.name",
        "code.text",  # no reference
        "_has:Observation:patient:nothing",
        "_has:Observation:nothing:code",
    ],
)
def test_unknown_parameter_in_a_chain_is_unknown(name):
    expect_refusal("Observation" if "_has" not in name else "Patient", name, "x", UnknownParameter)


@pytest.mark.parametrize(
    ("type", "name"),
    [
        ("Observation", "subject:Medication.code"),  # never points there
        ("Observation", "subject:Foo.name"),  # no type
        ("Observation", "subject:exact.name"),
        ("Observation", "subject:.name"),
        ("Observation", "subject:Patient._type"),
        ("Patient", "_has:Observation:patient"),
        ("Patient", "_has:Observation:patient:"),
        ("Patient", "_has::patient:code"),
        ("Patient", "_has:Foo:patient:code"),
        ("Patient", "_has:Observation:code:code"),  # no reference
        ("Patient", "_has:Observation:encounter:code"),  # never points here
    ],
)
def test_chain_to_nowhere_is_refused_also_leniently(type, name):
    expect_refusal(type, name, "x", lenient=True)


def test_message_names_the_types_a_reference_points_to():
    assert "Patient" in expect_refusal("Observation", "subject:Medication.code", "x")


def test_bad_value_says_more_than_an_unknown_name():
    # Of the four targets only Patient has a birth date.
    assert "YYYY" in expect_refusal("Observation", "subject.birthdate", "soon")


def test_refused_modifier_in_a_chain_is_refused():
    expect_refusal("Observation", "subject:Patient.identifier:in", "x", NotSupported)
    expect_refusal("Observation", "subject:Patient._text", "x", NotSupported)


# Bounds.


def test_chain_has_a_bound_of_steps():
    def chain(steps):
        return "partof:Location." * steps + "name"

    assert isinstance(criterion("Location", chain(DEPTH_MAX), "x"), Chain)
    assert str(DEPTH_MAX) in expect_refusal("Location", chain(DEPTH_MAX + 1), "x", TooCostly)


def test_reverse_chains_count_as_steps():
    name = "_has:Location:partof:" * (DEPTH_MAX + 1) + "name"
    expect_refusal("Location", name, "x", TooCostly)


def test_untyped_chains_over_all_types_have_a_bound():
    expect_refusal("Provenance", "target.target.target.target._id", "x", TooCostly)


def test_looking_for_a_way_has_a_bound_also_where_there_is_none():
    expect_refusal("Provenance", f"target.{'subject.' * 6}nothing", "x", TooCostly)
    expect_refusal("Provenance", "target.target.nothing", "x", UnknownParameter)
