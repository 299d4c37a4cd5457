"""Which types are searched: one, several, all, and those of a compartment."""

import pytest

from engine.errors import BadParameter, NotSupported, UnknownParameter
from engine.fhir.search.tree import Compare, Compartment, Nothing, SortKey
from tests.support.published_search import criterion, parse


def test_search_of_a_type_goes_over_that_type():
    assert parse("Patient").query.types == ("Patient",)


@pytest.mark.parametrize("type", ["Foo", "Resource", "HumanName", "string", ""])
def test_search_of_something_else_is_refused(type):
    with pytest.raises(BadParameter):
        parse(type)


def test_system_search_goes_over_all_types():
    assert parse(None).query.types == ()
    assert criterion(None, "_tag", "s|a").parameter.type == ""


def test_system_search_knows_parameters_of_every_type_alone():
    with pytest.raises(UnknownParameter, match="name the types with _type"):
        parse(None, ("code", "x"))


def test_types_are_named_in_a_list():
    assert parse(None, ("_type", "Patient,Group,Patient")).query.types == ("Patient", "Group")


def test_one_named_type_is_a_search_of_that_type():
    found = parse(None, ("code", "x"), ("_type", "Observation"), ("_sort", "-date")).query
    assert found.types == ("Observation",)
    assert found.criteria[0].parameter.type == "Observation"
    assert found.sort[0].parameter.code == "date"


def test_several_types_share_parameters_of_one_name_and_kind():
    found = parse(None, ("_type", "Observation,Condition"), ("code", "x")).query
    (only,) = found.criteria
    assert isinstance(only, Compare)
    assert {path.name for path in only.parameter.paths} == {"Observation.code", "Condition.code"}


def test_several_types_share_the_targets_of_their_references():
    found = criterion_of(None, ("_type", "Observation,Encounter"), ("subject", "1"))
    assert set(found.values[0].types) == {"Patient", "Group", "Device", "Location"}


def test_several_types_may_point_anywhere_if_one_of_them_may():
    types = ("_type", "CarePlan,RequestGroup")
    found = criterion_of(None, types, ("instantiates-canonical", "1"))
    assert {"Patient", "PlanDefinition"} < set(found.values[0].types)


def criterion_of(type, *pairs):
    (only,) = parse(type, *pairs).query.criteria
    return only


@pytest.mark.parametrize(
    "code",
    ["birthdate", "type", "code-value-quantity"],  # of one; of two kinds; a composite
)
def test_what_several_types_do_not_share_is_unknown(code):
    with pytest.raises(UnknownParameter):
        parse(None, ("_type", "Patient,Subscription,Observation"), (code, "x"))


def test_named_types_that_come_again_narrow():
    found = parse(None, ("_type", "Patient,Group"), ("_type", "Group,Device")).query
    assert (found.types, found.criteria) == (("Group",), ())


def test_named_types_that_exclude_each_other_match_nothing():
    assert parse(None, ("_type", "Patient"), ("_type", "Group")).query.criteria == (Nothing(),)


@pytest.mark.parametrize("value", ["Foo", "Patient,", "Resource", "patient", ","])
def test_unknown_type_is_refused_also_leniently(value):
    with pytest.raises(BadParameter) as caught:
        parse(None, ("_type", value), lenient=True)
    assert caught.value.expression == "_type"


def test_types_are_not_named_in_a_search_of_one():
    with pytest.raises(BadParameter, match="leave it out"):
        parse("Patient", ("_type", "Patient"), lenient=True)
    with pytest.raises(BadParameter, match="modifier"):
        parse(None, ("_type:not", "Patient"))


# Sorting.


def test_search_over_several_types_sorts_by_what_all_have():
    found = parse(None, ("_sort", "-_lastUpdated,_id")).query
    assert found.sort == (SortKey(None, descending=True), SortKey(None, by_id=True))
    with pytest.raises(UnknownParameter, match="_lastUpdated or _id"):
        parse(None, ("_type", "Observation,Condition"), ("_sort", "code"))


# Compartments.


def compartment(type, kind="Patient", id="1", *pairs):
    return parse(type, *pairs, compartment=(kind, id)).query


def test_compartment_is_a_criterion_with_the_parameters_that_lead_into_it():
    found = compartment("Observation")
    (only,) = found.criteria
    assert isinstance(only, Compartment)
    assert (found.types, only.type, only.id, only.itself) == (
        ("Observation",),
        "Patient",
        "1",
        False,
    )
    assert {(one.type, one.code) for one in only.parameters} == {
        ("Observation", "subject"),
        ("Observation", "performer"),
    }


def test_compartment_holds_its_own_resource():
    found = compartment("Encounter", "Encounter")
    assert found.criteria == (Compartment("Encounter", "1", (), itself=True),)


def test_compartment_over_all_types_goes_over_its_members():
    found = compartment(None)
    (only,) = found.criteria
    assert {"Patient", "Observation", "AllergyIntolerance"} < set(found.types)
    assert "Medication" not in found.types
    assert only.itself
    assert {one.type for one in only.parameters} <= set(found.types)


def test_compartment_takes_criteria_and_types():
    found = compartment(None, "Patient", "1", ("_type", "Observation,Medication"), ("code", "x"))
    assert found.types == ("Observation",)
    assert [type(one) for one in found.criteria] == [Compartment, Compare]


@pytest.mark.parametrize(
    ("type", "kind", "id"),
    [
        ("Medication", "Patient", "1"),
        ("Observation", "Medication", "1"),
        ("Observation", "Patient", "a b"),
    ],
)
def test_what_is_no_part_of_a_compartment_is_refused(type, kind, id):
    with pytest.raises(BadParameter):
        compartment(type, kind, id)


def test_special_parameters_are_for_no_system_search():
    with pytest.raises(NotSupported):
        parse(None, ("_filter", "x"), lenient=True)
