"""Values as both sides of a comparison see them: texts, dates, numbers (R4 search.html)."""

import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.fhir.search.tree import TIME_MAX, TIME_MIN
from engine.fhir.search.values import (
    NUMBER_CHARACTERS_MAX,
    STRING_CHARACTERS_MAX,
    date_range,
    implied_range,
    normalize,
    period_range,
    written,
)
from engine.instant import parse_instant

DAY_MS = 86_400_000


def ms(text: str) -> int:
    return parse_instant(text, name="expected")


# Strings.


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("Müller", "muller"),
        ("Mu\u0308ller", "muller"),
        ("  van  der\tBerg ", "van der berg"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Nguyễn", "nguyen"),
        ("Анна", "анна"),
        ("ﬁle №1", "file no1"),
        ("İstanbul", "istanbul"),
        ("", ""),
    ],
)
def test_case_accents_and_spaces_do_not_count(text, normalized):
    assert normalize(text) == normalized


@given(st.text())
@example("\u0345\u0399")
@example("a" * STRING_CHARACTERS_MAX + " b")
@example(("a" * (STRING_CHARACTERS_MAX - 1)) + " b")
def test_what_is_normalized_stays_as_it_is(text):
    once = normalize(text)
    assert normalize(once) == once


@given(st.text())
def test_composed_and_decomposed_texts_are_the_same(text):
    assert normalize(unicodedata.normalize("NFC", text)) == normalize(
        unicodedata.normalize("NFD", text)
    )


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_takes_no_other_way_than_the_rest(text):
    folded = unicodedata.normalize("NFKD", text).casefold()
    assert normalize(text) == " ".join(folded.split())[:STRING_CHARACTERS_MAX].rstrip()


def test_long_strings_are_cut_on_both_sides():
    long = "x" * (STRING_CHARACTERS_MAX + 1)
    assert len(normalize(long)) == len(written(long)) == STRING_CHARACTERS_MAX


# Dates.


@pytest.mark.parametrize(
    ("text", "first", "next"),
    [
        ("2020", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("2020-02", "2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-12", "2020-12-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("2020-02-29", "2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-01-01T10:20", "2020-01-01T10:20:00Z", "2020-01-01T10:21:00Z"),
        ("2020-01-01T10:20Z", "2020-01-01T10:20:00Z", "2020-01-01T10:21:00Z"),
        ("2020-01-01T10:20:30", "2020-01-01T10:20:30Z", "2020-01-01T10:20:31Z"),
        ("2020-01-01T10:20:30+02:00", "2020-01-01T08:20:30Z", "2020-01-01T08:20:31Z"),
        ("2020-01-01T10:20:30-00:30", "2020-01-01T10:50:30Z", "2020-01-01T10:50:31Z"),
        ("2020-01-01T10:20:30 02:00", "2020-01-01T08:20:30Z", "2020-01-01T08:20:31Z"),
        ("2020-01-01T10:20:30.1Z", "2020-01-01T10:20:30.100Z", "2020-01-01T10:20:30.200Z"),
        ("2020-01-01T10:20:30.12Z", "2020-01-01T10:20:30.120Z", "2020-01-01T10:20:30.130Z"),
        ("2020-01-01T10:20:30.123Z", "2020-01-01T10:20:30.123Z", "2020-01-01T10:20:30.124Z"),
        ("2020-01-01T10:20:30.1239999999Z", "2020-01-01T10:20:30.123Z", "2020-01-01T10:20:30.124Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"),
    ],
)
def test_a_date_is_as_wide_as_its_precision(text, first, next):
    assert date_range(text, UTC) == (ms(first), ms(next))


def test_the_last_year_there_is_has_an_end():
    assert date_range("9999", UTC)[1] == date_range("9999-12-31", UTC)[1]
    assert date_range("9999-12", UTC)[1] == date_range("9999-12-31", UTC)[0] + DAY_MS


def test_a_date_without_a_zone_is_in_the_tenants():
    berlin = ZoneInfo("Europe/Berlin")
    assert date_range("2020-07-01", berlin) == (
        ms("2020-06-30T22:00:00Z"),
        ms("2020-07-01T22:00:00Z"),
    )
    assert date_range("2020-07-01T08:00:00Z", berlin)[0] == ms("2020-07-01T08:00:00Z")


def test_a_day_on_which_the_clocks_change_has_another_length():
    lo, hi = date_range("2020-03-29", ZoneInfo("Europe/Berlin"))
    assert hi - lo == 23 * 3_600_000


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "20",
            "202",
            "20201",
            "2020-1",
            "2020-13",
            "2020-00",
            "2020-02-30",
            "2021-02-29",
            "0000",
        ],
        *["2020-01-01T", "2020-01-01T24:00:00Z", "2020-01-01T10:60:00Z", "2020-01-01T10:20:61Z"],
        *["2020-01-01T10:20:30.Z", "2020-01-01T10:20:30+15:00", "2020-01-01T10:20:30+02:60"],
        *["2020-01-01T10:20:30+0200", "2020-01-01 10:20:30Z", "2020-W01-1", "20200101", "now"],
        *[
            "2020-01-01T10:20:30z",
            "\uff12\uff10\uff12\uff10",
            "2020-01-01T10:20:30Z ",
            "-2020",
            "2020-01-01T10",
        ],
    ],
)
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError):
        date_range(text, UTC)


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
def test_a_time_with_a_zone_is_where_python_says_it_is(moment, offset, precision):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    lo, hi = date_range(moment.isoformat(timespec=precision), UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    if precision == "seconds":
        assert (lo, hi) == (since // timedelta(seconds=1) * 1000, lo + 1000)
    else:
        assert (lo, hi) == (since // timedelta(milliseconds=1), lo + 1)


@given(st.dates(), st.sampled_from([4, 7, 10]), st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_a_range_holds_its_own_finer_ones_and_ends_where_the_next_begins(day, size, zone):
    text = day.isoformat()
    lo, hi = date_range(text[:size], ZoneInfo(zone))
    inner_lo, inner_hi = date_range(text, ZoneInfo(zone))
    assert lo <= inner_lo < inner_hi <= hi


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_a_value_error(text):
    try:
        lo, hi = date_range(text, UTC)
    except ValueError:
        return
    assert TIME_MIN < lo < hi < TIME_MAX


def test_a_period_is_open_where_it_says_nothing():
    day = date_range("2020-01-01", UTC)
    assert period_range("2020-01-01", None, UTC) == (day[0], TIME_MAX)
    assert period_range(None, "2020-01-01", UTC) == (TIME_MIN, day[1])
    assert period_range("2020-01-01", "2020-01-01", UTC) == day


@pytest.mark.parametrize("ends", [(None, None), ("2020", "2019"), ("x", None), (None, "2020-13")])
def test_a_period_without_a_span_is_refused(ends):
    with pytest.raises(ValueError):
        period_range(*ends, UTC)


# Numbers.


@pytest.mark.parametrize(
    ("text", "lo", "hi"),
    [
        ("100", 99.5, 100.5),
        ("100.00", 99.995, 100.005),
        ("1.0", 0.95, 1.05),
        ("5.4", 5.35, 5.45),
        ("5.40", 5.395, 5.405),
        ("-5", -5.5, -4.5),
        ("0", -0.5, 0.5),
        ("0.00", -0.005, 0.005),
        ("1e2", 95, 105),
        ("1.0e2", 95, 105),
        ("1.00e2", 99.5, 100.5),
        ("1E-3", 0.00095, 0.00105),
    ],
)
def test_a_number_is_as_wide_as_its_last_digit(text, lo, hi):
    assert implied_range(text) == (lo, hi)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "e5",
            "0x10",
            "1_000",
            "NaN",
            "Infinity",
            "1e999",
            "--1",
        ],
        *["1 ", "1,0", "\uff11", "1" * (NUMBER_CHARACTERS_MAX + 1)],
    ],
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        implied_range(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-1e9, max_value=1e9))
def test_a_number_lies_in_the_middle_of_its_range(value):
    lo, hi = map(Decimal, implied_range(f"{value:.4f}"))
    assert lo < value < hi
    assert abs((lo + hi) / 2 - value) < Decimal("1e-6")


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_a_value_error(text):
    try:
        lo, hi = implied_range(text)
    except ValueError:
        return
    assert lo < hi or lo == hi  # very large ones have no room between
