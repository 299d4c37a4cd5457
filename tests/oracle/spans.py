"""Times and numbers as the ranges that their precision implies (search.html#prefix).

Times are exact fractions of a second since 1970, numbers exact decimals.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

NEVER, EVER = Fraction(-(10**18)), Fraction(10**18)  # a boundary that is not given

_TIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?\Z"
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\Z")


@dataclass(frozen=True)
class Span:
    """From `lo`, included, to `hi`, not included."""

    lo: Fraction
    hi: Fraction

    def contains(self, other: "Span") -> bool:
        return self.lo <= other.lo and other.hi <= self.hi

    def overlaps(self, other: "Span") -> bool:
        return self.lo < other.hi and other.lo < self.hi


def span_of_time(text: str, zone: tzinfo) -> Span | None:
    """The range of a date, dateTime or instant; without a zone it is in `zone`. None: malformed."""
    match = _TIME.match(text)
    if match is None:
        return None
    part = {
        name: int(value) for name, value in match.groupdict().items() if name in _FIELDS and value
    }
    try:
        begin = datetime(
            part["year"],
            part.get("month", 1),
            part.get("day", 1),
            part.get("hour", 0),
            part.get("minute", 0),
            part.get("second", 0),
            tzinfo=_zone(match["zone"]) if match["zone"] else zone,
        )
        lo = _seconds(begin)
        if match["fraction"]:
            digits = match["fraction"][:3]  # the store's times are milliseconds
            lo += Fraction(int(digits), 10 ** len(digits))
            return Span(lo, lo + Fraction(1, 10 ** len(digits)))
        return Span(lo, _end(begin, part))
    except (ValueError, OverflowError):
        return None


_FIELDS = ("year", "month", "day", "hour", "minute", "second")


def _end(begin: datetime, part: dict[str, int]) -> Fraction:
    if "second" in part:
        return _seconds(begin) + 1
    if "hour" in part:
        return _seconds(begin) + 60
    if "day" in part:
        return _seconds(begin + timedelta(days=1))  # by the calendar: some days have 23 hours
    if "month" in part:
        year, month = divmod(begin.year * 12 + begin.month, 12)
        return _seconds(begin.replace(year=year, month=month + 1))
    return _seconds(begin.replace(year=begin.year + 1))


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[4:6])
    return timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes))


def _seconds(moment: datetime) -> Fraction:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return Fraction(since.days * 86400 + since.seconds)


def spans_of(type: str, value: Any, zone: tzinfo) -> list[Span]:
    """The ranges of an element: of a point in time, a Period, or a Timing's outer limits."""
    if isinstance(value, str):
        span = span_of_time(value, zone)
        return [span] if span else []
    if not isinstance(value, dict):
        return []
    if type == "Timing" or "event" in value or "repeat" in value:
        return _of_timing(value, zone)
    return _of_period(value, zone)


def _of_period(value: dict[str, Any], zone: tzinfo) -> list[Span]:
    start = span_of_time(value["start"], zone) if "start" in value else None
    end = span_of_time(value["end"], zone) if "end" in value else None
    if start is None and end is None:
        return []
    return [Span(start.lo if start else NEVER, end.hi if end else EVER)]


def _of_timing(value: dict[str, Any], zone: tzinfo) -> list[Span]:
    found = [span for text in value.get("event", ()) if (span := span_of_time(text, zone))]
    bounds = value.get("repeat", {}).get("boundsPeriod")
    if bounds:
        found += _of_period(bounds, zone)
    if not found:
        return []
    return [Span(min(one.lo for one in found), max(one.hi for one in found))]


def is_number(text: str) -> bool:
    return _NUMBER.match(text) is not None


def implied(text: str) -> tuple[Decimal, Decimal]:
    """Half a unit of the last digit written, down and up: 100 is 99.5 to 100.5, 5.40e-3 is
    0.005395 to 0.005405. Only 1e2 is 95 to 105, one digit finer, as the specification's own
    example has it (search.html#number)."""
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    finer = "e" in text.lower() and "." not in text
    half = Decimal(5) * Decimal(10) ** (exponent - (2 if finer else 1))
    return number - half, number + half
