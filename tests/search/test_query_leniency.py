"""What a lenient search leaves out and says so, what it never leaves out, and what it costs."""

import pytest

from engine.errors import BadParameter, TooCostly, UnknownParameter, WithoutEffect
from engine.fhir.search.criteria import VALUES_MAX
from engine.fhir.search.parse_values import VALUE_CHARS_MAX
from engine.fhir.search.query import PARAMETERS_MAX
from engine.fhir.search.scope import SHOWN_CHARS_MAX
from tests.support.published_search import criterion, parse

# Left out with a warning, or refused.
PASSED_OVER = [
    ("nothing", "x", UnknownParameter),
    ("", "x", UnknownParameter),
    ("_nothing", "x", UnknownParameter),
    ("nothing:exact", "x", UnknownParameter),
    ("link.nothing", "x", UnknownParameter),
    ("_sort", "nothing", UnknownParameter),
    ("_include", "Patient:nothing", UnknownParameter),
    ("_include", "Encounter:subject", WithoutEffect),
    ("name", "", WithoutEffect),
    ("name:exact", "", WithoutEffect),
    ("_id", "", WithoutEffect),
    ("_count", "", WithoutEffect),
    ("_include", "", WithoutEffect),
]


@pytest.mark.parametrize(("name", "value", "error"), PASSED_OVER)
def test_strict_search_refuses_what_it_does_not_know(name, value, error):
    with pytest.raises(error) as caught:
        parse("Patient", ("gender", "male"), (name, value))
    assert caught.value.expression == name


@pytest.mark.parametrize(("name", "value", "error"), PASSED_OVER)
def test_lenient_search_warns_and_goes_on_without_it(name, value, error):
    found = parse("Patient", (name, value), ("gender", "male"), lenient=True)
    (issue,) = found.issues
    assert (issue.severity, issue.code, issue.expression) == ("warning", error.code, name)
    assert issue.diagnostics.startswith("ignored: ")
    assert found.understood == (("gender", "male"),)
    assert len(found.query.criteria) == 1
    assert found.query.sort == found.query.includes == ()


def test_empty_type_is_left_out_leniently():
    found = parse(None, ("_type", ""), lenient=True)
    assert (found.query.types, len(found.issues), found.understood) == ((), 1, ())


def test_what_is_wrong_is_an_error_also_leniently():
    with pytest.raises(BadParameter):
        parse("Patient", ("birthdate", "soon"), lenient=True)


def test_understood_is_everything_that_counts_in_its_order():
    pairs = (("name", "a"), ("_count", "5"), ("name", "b"), ("_sort", "-birthdate"))
    assert parse("Patient", *pairs).understood == pairs


def test_types_come_first_in_what_was_understood():
    found = parse(None, ("_tag", "a"), ("_type", "Patient"))
    assert found.understood == (("_type", "Patient"), ("_tag", "a"))


def test_parameters_that_repeat_are_joined_by_and():
    assert len(parse("Patient", ("name", "a"), ("name", "b")).query.criteria) == 2
    assert len(parse("Patient", ("name", "a"), ("name", "a")).query.criteria) == 1


# Costs.


def test_a_thousand_alternatives_are_fine():
    assert len(criterion("Patient", "_id", ",".join(map(str, range(1000)))).ids) == 1000
    found = criterion("Observation", "subject", ",".join(map(str, range(1000))))
    assert len(found.values) == 1000


@pytest.mark.parametrize("repeated", [False, True])
def test_values_of_a_query_have_a_bound(repeated):
    values = [str(number) for number in range(VALUES_MAX + 1)]
    pairs = [("_id", one) for one in values] if repeated else [("_id", ",".join(values))]
    with pytest.raises(TooCostly):
        parse("Patient", *pairs, lenient=True)
    assert parse("Patient", ("_id", ",".join(values[1:])))


def test_parameters_of_a_query_have_a_bound():
    assert parse("Patient", *[("gender", "a")] * PARAMETERS_MAX)
    with pytest.raises(TooCostly, match=str(PARAMETERS_MAX)):
        parse("Patient", *[("gender", "a")] * (PARAMETERS_MAX + 1))


def test_ids_that_may_have_any_type_have_a_bound():
    ids = [str(number) for number in range(1000)]
    with pytest.raises(TooCostly, match="Type/id"):
        parse("Provenance", ("target", ",".join(ids)))
    typed = ",".join(f"Patient/{id}" for id in ids)
    assert len(criterion("Provenance", "target", typed).values) == 1000


def test_untyped_chain_over_all_types_has_a_bound_of_comparisons():
    ids = ",".join(str(number) for number in range(1000))
    with pytest.raises(TooCostly):
        parse("Provenance", ("target._id", ids))


def test_value_has_a_bound_of_characters():
    assert criterion("Patient", "name", "x" * VALUE_CHARS_MAX)
    with pytest.raises(BadParameter, match="characters"):
        parse("Patient", ("name", "x" * (VALUE_CHARS_MAX + 1)))


def test_long_name_is_short_in_a_message():
    with pytest.raises(UnknownParameter) as caught:
        parse("Patient", ("x" * 5000, "1"))
    assert len(str(caught.value)) < 300
    assert len(caught.value.expression) <= SHOWN_CHARS_MAX
