"""Whatever a query says, it is understood or refused by an error of ours; escapes come back."""

from itertools import pairwise
from math import isfinite
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from engine.errors import BadParameter, BadRequest
from engine.fhir.search.escaping import escape, split, unescape
from engine.fhir.search.tree import Compare, Instant, Number, Prefix, Query, Text, Token
from tests.support.published_search import BASE_URL, SEARCH, criterion, parse

texts = st.text(max_size=20)
TYPES = ["Patient", "Observation", "Encounter", "Provenance", "Location", "ValueSet", "Group"]
CODES = sorted({one.code for type in TYPES for one in SEARCH.parameters(type)})
MODIFIERS = ["exact", "contains", "not", "missing", "identifier", "of-type", "above", "below"]
OTHERS = ["_list", "_type", "_count", "_sort", "_include", "_revinclude", "_summary", "_elements"]
FRAGMENTS = [
    *[",", "|", "$", "\\", "\\,", ":", ".", "-", "_", "*", "/", " ", "+", "%", "\x00", "é", "٢"],
    *["2020", "2020-01-01T10:30", "Z", "1.5e2", "-7", "true", "final", "http://loinc.org|1-8"],
    *["Patient/1", "/_history/2", BASE_URL, "urn:uuid:1", "Observation:subject", "Patient", "a,b"],
    *list(Prefix),
]

values = st.lists(st.sampled_from(FRAGMENTS) | texts, max_size=5).map("".join)


@st.composite
def names(draw, depth=0):
    """Names as clients send them, and some that nobody should."""
    code = draw(st.sampled_from([*CODES, *OTHERS]) | texts)
    modifier = draw(st.sampled_from(["", "", *MODIFIERS, *TYPES]) | texts)
    name = f"{code}:{modifier}" if modifier else code
    if depth < 3 and draw(st.booleans()):
        inner = draw(names(depth + 1))
        type, reference = draw(st.sampled_from(TYPES)), draw(st.sampled_from(CODES))
        return draw(st.sampled_from([f"{name}.{inner}", f"_has:{type}:{reference}:{inner}"]))
    return name


pairs = st.lists(st.tuples(names(), values), max_size=4)


@given(st.sampled_from([None, *TYPES]) | texts, pairs, st.booleans())
@example("Patient", [("_has:Patient:link:", "x")], True)
@example("Patient", [(".", ".")], False)
@example(None, [("_type", ""), ("_type", "Patient")], True)
@settings(max_examples=600, deadline=None)
def test_every_query_is_understood_or_refused_by_an_error_of_ours(type, query, lenient):
    try:
        found = parse(type, *query, lenient=lenient)
    except BadRequest:
        event("refused")
        return
    event("understood")
    assert isinstance(found.query, Query)
    assert lenient or all("version" in issue.diagnostics for issue in found.issues)
    assert hash(found.query) is not None  # frozen throughout: fit for a key


@given(st.sampled_from([None, *TYPES]), pairs)
@settings(max_examples=300, deadline=None)
def test_what_was_understood_gives_the_same_query_again(type, query):
    try:
        found = parse(type, *query, lenient=True)
    except BadRequest:
        event("refused")
        return
    event(f"understood: {len(found.understood)}")
    again = parse(type, *found.understood)
    assert again.query == found.query
    assert again.understood == found.understood


def expect_refusal(act, *given):
    with pytest.raises(BadParameter):
        act(*given)


@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from(",|$"))
def test_escaped_pieces_come_back(pieces, separator):
    joined = separator.join(map(escape, pieces))
    assert [unescape(piece) for piece in split(joined, separator)] == pieces


@given(texts)
def test_a_text_is_split_only_where_it_says_so(text):
    try:
        pieces = split(text, ",")
    except BadParameter:
        expect_refusal(unescape, text)
        return
    assert ",".join(pieces) == text


@given(texts.filter(lambda text: text.strip()))
def test_any_token_can_be_asked_for(text):
    assert criterion("Observation", "code", f"{escape(text)}|{escape(text)}").values == (
        Token(text, text),
    )


@given(texts.filter(lambda text: text.strip()))
def test_any_string_can_be_asked_for(text):
    found = criterion("Patient", "name:exact", escape(text))
    assert found == Compare(found.parameter, (Text(text),), found.modifier)


@given(
    st.sampled_from(list(Prefix)),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=3),
)
def test_number_lies_in_its_range(prefix, number):
    (found,) = criterion("RiskAssessment", "probability", f"{prefix}{number:f}").values
    assert isinstance(found, Number)
    assert found.prefix is prefix
    assert found.lo <= found.value < found.hi


ODD_DATES = r"(0000|0001|9999|20[0-9][0-9])(-(00|0[1-9]|1[0-3])(-(00|28|29|3[0-2])(T.{0,14})?)?)?"
ODD_NUMBERS = r"-?[0-9]{1,70}(\.[0-9]{0,70})?([eE][+-]?[0-9]{1,5})?"


@given(
    st.from_regex(ODD_DATES, fullmatch=True),
    st.sampled_from(["", *Prefix]),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati"]),
)
@example("0001-01-01", "", "Asia/Tokyo")
@example("9999-12-31", "ap", "America/Los_Angeles")
@example("9999-12-31T23:59:60", "", "America/Los_Angeles")
def test_odd_dates_are_ranges_or_refused(text, prefix, zone):
    try:
        found = parse("Observation", ("date", f"{prefix}{text}"), zone=ZoneInfo(zone))
    except BadParameter:
        event("refused")
        return
    ((only,),) = (one.values for one in found.query.criteria)
    assert only.lo_ms < only.hi_ms


@given(st.from_regex(ODD_NUMBERS, fullmatch=True), st.sampled_from(["", *Prefix]))
@example("1e999", "ap")
@example("1e-999", "")
def test_odd_numbers_are_ranges_or_refused(text, prefix):
    try:
        (only,) = criterion("RiskAssessment", "probability", f"{prefix}{text}").values
    except BadParameter:
        event("refused")
        return
    assert only.lo <= only.value <= only.hi
    assert isfinite(only.lo) and isfinite(only.hi)


@given(st.datetimes(), st.sampled_from(list(Prefix)))
def test_time_lies_in_its_range_and_coarser_dates_hold_finer_ones(moment, prefix):
    ranges = [
        criterion("Observation", "date", f"{prefix}{text}").values[0]
        for text in (
            f"{moment.year:04}",
            f"{moment.year:04}-{moment.month:02}",
            moment.date().isoformat(),
            moment.isoformat(timespec="minutes"),
            moment.isoformat(timespec="seconds"),
        )
    ]
    assert all(isinstance(one, Instant) and one.lo_ms < one.hi_ms for one in ranges)
    for coarse, fine in pairwise(ranges):
        if prefix is not Prefix.AP:
            assert coarse.lo_ms <= fine.lo_ms < fine.hi_ms <= coarse.hi_ms
