"""Result parameters and includes: which page, in which order and form, and what comes along."""

import pytest

from engine.errors import BadParameter, NotSupported, TooCostly, UnknownParameter, WithoutEffect
from engine.fhir.search.includes import INCLUDES_MAX
from engine.fhir.search.results import SORT_KEYS_MAX, Summary, Total
from tests.support.published_search import parse


def expect_refusal(type, name, value, error=BadParameter, **how):
    with pytest.raises(error) as caught:
        parse(type, (name, value), **how)
    assert caught.value.expression == name
    return str(caught.value)


# Pages.


def test_count_is_the_size_of_a_page():
    assert parse("Patient", ("_count", "50")).count == 50
    assert parse("Patient").count is None


@pytest.mark.parametrize("value", ["1000", "1001", "1000000", "9" * 5000])
def test_count_over_the_maximum_is_the_maximum(value):
    found = parse("Patient", ("_count", value), count_max=1000)
    assert (found.count, found.understood) == (1000, (("_count", "1000"),))


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "+1", "٢", " 1", "1,2"])
def test_count_that_is_no_number_is_refused_also_leniently(value):
    expect_refusal("Patient", "_count", value, lenient=True)


@pytest.mark.parametrize(
    ("pair", "only"),
    [
        (("_count", "0"), True),
        (("_summary", "count"), True),
        (("_count", "1"), False),
        (("_summary", "true"), False),
    ],
)
def test_count_of_nothing_and_summary_of_the_count_ask_for_the_total_alone(pair, only):
    assert parse("Patient", pair).only_total is only


@pytest.mark.parametrize("value", list(Total))
def test_total_is_one_of_three(value):
    assert parse("Patient", ("_total", value)).total is Total(value)


@pytest.mark.parametrize("value", list(Summary))
def test_summary_is_one_of_five(value):
    assert parse("Patient", ("_summary", value)).summary is Summary(value)


@pytest.mark.parametrize(("name", "value"), [("_total", "yes"), ("_summary", "short")])
def test_another_choice_is_refused_with_the_choices(name, value):
    assert "one of" in expect_refusal("Patient", name, value)


def test_elements_are_names():
    found = parse("Patient", ("_elements", "id,name,name,Patient.contact.name"))
    assert found.elements == ("id", "name", "Patient.contact.name")


@pytest.mark.parametrize("value", ["a,,b", "a b", "name[0]", "*", ","])
def test_elements_in_another_form_are_refused(value):
    expect_refusal("Patient", "_elements", value)


def test_cursor_is_given_on_and_no_part_of_the_query():
    found = parse("Patient", ("_cursor", "abc"), ("gender", "male"))
    assert (found.cursor, found.understood) == ("abc", (("gender", "male"),))


def test_form_of_the_answer_is_passed_over():
    found = parse("Patient", ("_format", "json"), ("_pretty", "true"), ("_format", "json"))
    assert (found.understood, found.issues) == ((), ())


@pytest.mark.parametrize("name", ["_count", "_total", "_summary", "_cursor", "_elements"])
def test_result_parameter_that_comes_twice_is_refused(name):
    value = {"_count": "0", "_total": "none", "_summary": "true"}.get(name, "name")
    with pytest.raises(BadParameter, match="more than once"):
        parse("Patient", (name, value), (name, value))


@pytest.mark.parametrize("name", ["_count:exact", "_sort:asc", "_sort:desc", "_format:x"])
def test_result_parameter_with_a_modifier_is_refused(name):
    expect_refusal("Patient", name, "name")


def test_contained_resources_are_not_searched():
    assert parse("Patient", ("_contained", "false")).understood == (("_contained", "false"),)
    expect_refusal("Patient", "_contained", "true", NotSupported)
    expect_refusal("Patient", "_containedType", "container", NotSupported)


# Order.


def test_sort_has_keys_in_their_order():
    found = parse("Observation", ("_sort", "status,-date,_id,-_lastUpdated")).query.sort
    assert [(one.parameter and one.parameter.code, one.descending, one.by_id) for one in found] == [
        ("status", False, False),
        ("date", True, False),
        (None, False, True),
        (None, True, False),
    ]


def test_sort_that_comes_again_adds_inner_keys():
    once = parse("Observation", ("_sort", "status,-date,_id")).query.sort
    twice = parse("Observation", ("_sort", "status"), ("_sort", "-date,status"), ("_sort", "_id"))
    assert twice.query.sort == once


def test_sort_key_that_comes_again_changes_nothing():
    (only,) = parse("Observation", ("_sort", "date,-date")).query.sort
    assert only.descending is False


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("subject", NotSupported),
        ("code-value-quantity", NotSupported),
        ("nothing", UnknownParameter),
        ("-", BadParameter),
        ("date,", BadParameter),
        ("--date", UnknownParameter),
    ],
)
def test_sort_by_what_has_no_order_is_refused(value, error):
    expect_refusal("Observation", "_sort", value, error)


def test_sort_has_a_bound_of_keys():
    codes = ["status", "date", "code", "value-quantity", "category", "method", "identifier"]
    assert len(parse("Observation", ("_sort", ",".join([*codes, "_id"]))).query.sort) == 8
    assert SORT_KEYS_MAX == 8
    expect_refusal("Observation", "_sort", ",".join([*codes, "_id", "_lastUpdated"]), TooCostly)


# Includes.


def include(type, name, value, **how):
    return parse(type, (name, value), **how).query.includes


def test_include_follows_one_reference():
    (only,) = include("Observation", "_include", "Observation:subject")
    assert (only.source, only.target, only.iterate, only.reverse) == (
        "Observation",
        "",
        False,
        False,
    )
    assert [one.code for one in only.parameters] == ["subject"]


def test_include_follows_a_reference_to_one_type():
    (only,) = include("Observation", "_include", "Observation:subject:Patient")
    assert only.target == "Patient"


def test_include_of_all_follows_every_reference():
    (only,) = include("Observation", "_include", "*")
    assert only.source == "Observation"
    assert {"subject", "encounter", "performer"} < {one.code for one in only.parameters}
    assert include("Observation", "_include", "Observation:*") == (only,)


def test_include_of_all_to_one_type_follows_what_may_lead_there():
    (only,) = include("Observation", "_include", "Observation:*:Encounter")
    assert only.target == "Encounter"
    assert {"encounter", "focus"} <= {one.code for one in only.parameters}
    assert "device" not in {one.code for one in only.parameters}


def test_iterated_include_starts_from_included_types_too():
    (only,) = include("MedicationRequest", "_include:iterate", "Medication:manufacturer")
    assert (only.source, only.iterate) == ("Medication", True)
    sources = {one.source for one in include("MedicationRequest", "_include:iterate", "*")}
    assert {"MedicationRequest", "Medication", "Patient"} < sources


def test_reverse_include_comes_from_another_type():
    (only,) = include("Patient", "_revinclude", "Observation:subject")
    assert (only.source, only.reverse, only.target) == ("Observation", True, "")
    (only,) = include("Patient", "_revinclude", "Observation:subject:Patient")
    assert only.target == "Patient"


def test_reverse_include_of_all_comes_from_whatever_may_point_here():
    found = include("Patient", "_revinclude", "*")
    assert {"Observation", "Encounter"} < {one.source for one in found}
    assert all("Patient" in p.targets or not p.targets for one in found for p in one.parameters)
    (only,) = include("Patient", "_revinclude", "Observation:*")
    assert "encounter" not in {one.code for one in only.parameters}


def test_system_search_includes_from_every_type():
    sources = {one.source for one in include(None, "_include", "*")}
    assert {"Patient", "Observation"} < sources
    assert include(None, "_include", "Observation:subject")[0].source == "Observation"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("_include", "Observation", BadParameter),
        ("_include", "Observation:", BadParameter),
        ("_include", "Observation:subject:Patient:x", BadParameter),
        ("_include", "Observation:subject,Observation:encounter", BadParameter),
        ("_include", "*:subject", BadParameter),
        ("_include", "Foo:subject", BadParameter),
        ("_include", "Observation:subject:Foo", BadParameter),
        ("_include", "Observation:code", BadParameter),
        ("_include", "Observation:subject:Medication", BadParameter),
        ("_include:recurse", "Observation:subject", NotSupported),
        ("_include:exact", "Observation:subject", BadParameter),
        ("_include:", "Observation:subject", BadParameter),
        ("_include", "Observation:nothing", UnknownParameter),
        ("_include", "Encounter:subject", WithoutEffect),
        ("_revinclude", "Encounter:subject", WithoutEffect),
        ("_revinclude", "Provenance:target:Patient", WithoutEffect),
    ],
)
def test_include_that_leads_nowhere_is_refused(name, value, error):
    expect_refusal("Observation", name, value, error)


def test_summary_of_the_text_does_not_go_with_includes():
    with pytest.raises(BadParameter) as caught:
        parse("Observation", ("_summary", "text"), ("_include", "Observation:subject"))
    assert caught.value.expression == "_summary"
    assert parse("Observation", ("_summary", "text")).summary is Summary.TEXT


def test_includes_have_a_bound():
    one = ("_include", "Observation:subject")
    assert len(parse("Observation", *[one] * INCLUDES_MAX).query.includes) == 1
    with pytest.raises(TooCostly):
        parse("Observation", *[one] * (INCLUDES_MAX + 1))
