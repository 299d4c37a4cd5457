"""Comparisons of ordered values: as ranges of the index they mean what they mean for a body."""

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.sqlite.search.binding import Binder
from backends.sqlite.search.ordered import (
    WIDE_MS,
    ContainsTest,
    DateTest,
    ExactTest,
    NumberTest,
    StartTest,
    prefix_range,
)
from engine.fhir.search.tree import TIME_MAX, TIME_MIN, Prefix

DAY_MS = 86_400_000
moments = st.sampled_from(
    sorted({n * DAY_MS + step for n in (-40, -33, -32, -31, 0, 1, 31, 32, 33) for step in (0, 1)})
)
spans = st.tuples(moments, moments).filter(lambda span: span[0] < span[1])
stored = st.one_of(
    spans, moments.map(lambda lo: (lo, TIME_MAX)), moments.map(lambda hi: (TIME_MIN, hi))
)
prefixes = st.sampled_from(Prefix)
numbers = st.sampled_from((-1.0, 0.0, 0.95, 1.0, 1.05, 2.0, 1e300))
texts = st.text(alphabet="aAbß\u0301\ud7ff\ue000\U0010ffff ", max_size=4)


def met(test, columns, values):
    """How many of the test's ranges hold for a row."""
    connection, b = apsw.Connection(":memory:"), Binder()
    names = ", ".join(f"? AS {column}" for column in columns)
    ranges = test.ranges(b)
    cases = " + ".join(f"({condition})" for condition in ranges) or "0"
    for number, value in enumerate(values):
        names = names.replace("?", f":row{number}", 1)
        b.values[f"row{number}"] = value
    return connection.execute(f"SELECT {cases} FROM (SELECT {names})", b.values).get


@settings(deadline=None)
@given(prefixes, spans, stored)
def test_a_date_meets_one_range_if_it_matches_and_none_if_not(prefix, asked, row):
    test = DateTest(prefix, *asked)
    assert met(test, ("lo", "hi"), row) == int(test.holds((1, *row, 3)))


@settings(deadline=None)
@given(prefixes, numbers, numbers, numbers)
def test_a_number_meets_one_range_if_it_matches_and_none_if_not(prefix, value, half, row):
    test = NumberTest(prefix, value, value - abs(half), value + abs(half))
    assert met(test, ("value",), (row,)) == int(test.holds((1, row, 3)))


@settings(deadline=None)
@given(st.sampled_from((StartTest, ContainsTest)), texts, texts)
def test_a_text_is_in_the_range_of_its_prefixes(kind, asked, row):
    test = kind(asked)
    assert bool(met(test, ("value", "exact"), (row, ""))) == test.holds((1, row, row, 3))


@settings(deadline=None)
@given(texts, texts)
def test_exact_looks_at_the_text_as_it_was_written(asked, row):
    test = ExactTest(asked.lower(), asked)
    exact = "" if row == row.lower() else row
    assert bool(met(test, ("value", "exact"), (row.lower(), exact))) == (asked == row)


@pytest.mark.parametrize(
    ("prefix", "high"),
    [("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("ab", "ac")],
)
def test_the_range_of_a_prefix_ends_at_the_next_text(prefix, high):
    assert prefix_range(prefix) == (prefix, high)


def test_the_index_of_long_spans_is_by_the_same_width():
    """SQLite uses a partial index only for a condition written in the same way."""
    from importlib import resources

    schema = resources.files("backends.sqlite") / "migrations" / "tenant" / "0002_index.sql"
    assert f"WHERE hi - lo > {WIDE_MS};" in schema.read_text()
