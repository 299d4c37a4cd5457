"""Values as the index holds them and a search compares them: texts, dates, numbers.

Both sides of a comparison come through here, so they cannot differ. Source: FHIR R4
search.html, sections string, date and number.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from math import isfinite

from engine.fhir.search.tree import TIME_MAX, TIME_MIN

STRING_CHARACTERS_MAX = 1000  # of an indexed string: what follows is cut off on both sides
NUMBER_CHARACTERS_MAX = 100  # of a number in a query: nobody writes a longer one in earnest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
# A space stands where a client forgot to escape the plus of its zone.
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)"
    r"(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+\- ]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_DECIMAL = re.compile(r"-?\d+(?:\.(?P<fraction>\d+))?(?P<exponent>[eE][+-]?\d{1,3})?", re.ASCII)
# Where the marks of an instant in a body stand: 2026-01-31T08:30:00, a fraction of three
# digits or none, and a zone.
_SECONDS, _MILLIS, _ZONE = 19, 23, 6


def normalize(text: str) -> str:
    """The form in which strings are compared when neither case nor accents count.

    NFKD without combining marks, case folded, runs of white space as one space and none at the
    ends, at most STRING_CHARACTERS_MAX characters (R4 search.html#string).
    """
    if not text.isascii():
        folded = unicodedata.normalize("NFKD", text).casefold()
        decomposed = unicodedata.normalize("NFKD", folded)
        text = "".join([sign for sign in decomposed if not unicodedata.combining(sign)])
    else:
        text = text.lower()
    return " ".join(text.split())[:STRING_CHARACTERS_MAX].rstrip()


def written(text: str) -> str:
    """A string as it was written, as far as the index holds it: what `:exact` compares."""
    return text[:STRING_CHARACTERS_MAX]


# Dates.


def date_range(text: str, zone: tzinfo) -> tuple[int, int]:
    """The half-open range [lo, hi) of milliseconds since 1970 UTC that a date means.

    Its width is the precision: year, month, day, minute, second or fraction of a second down
    to one millisecond. `zone` is where a date without one is. Raises ValueError for a text
    that is no date, or none that exists.
    """
    quick = _instant(text)
    if quick is not None:
        return quick
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("not a date such as 2026, 2026-01, 2026-01-31 or 2026-01-31T08:30:00Z")
    try:
        return _range(match, zone)
    except OverflowError:
        raise ValueError("not a date that exists") from None


def _instant(text: str) -> tuple[int, int] | None:
    """What nearly all times in bodies are: to the second or millisecond, with a zone."""
    zone = 1 if text[-1:] == "Z" else _ZONE
    size = len(text) - zone
    if (
        (size != _SECONDS and size != _MILLIS)
        or text[4] != "-"
        or text[7] != "-"
        or text[10] != "T"
        or text[13] != ":"
        or text[16] != ":"
        or (
            zone == _ZONE
            and (
                text[-3] != ":" or text[size] not in "+-" or text[-5:-3] > "14" or text[-2:] > "59"
            )
        )
        or (size == _MILLIS and text[_SECONDS] != ".")
    ):
        return None
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, OverflowError):
        return None  # the long way says what is wrong, or knows of leap seconds
    lo = since.days * _DAY_MS + since.seconds * 1000 + since.microseconds // 1000
    return lo, lo + (1000 if size == _SECONDS else 1)


def _range(match: re.Match[str], zone: tzinfo) -> tuple[int, int]:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if offset is not None:
        zone = _offset(offset)
    first = (int(year), int(month or 1), int(day or 1))
    if hour is None:
        end = _day_after(first, month is not None, day is not None)
        return _ms(datetime(*first, tzinfo=zone)), _ms_of_end(end, zone)
    leap = second == "60"  # allowed in FHIR: the second after the 59th
    seconds = 59 if leap else int(second or 0)
    lo = _ms(datetime(*first, int(hour), int(minute), seconds, tzinfo=zone)) + 1000 * leap
    if second is None:
        return lo, lo + 60_000
    if fraction is None:
        return lo, lo + 1000
    lo += int(fraction[:3].ljust(3, "0"))
    return lo, lo + (100, 10, 1)[min(len(fraction), 3) - 1]


def _day_after(day: tuple[int, int, int], month: bool, date: bool) -> tuple[int, int, int]:
    """The day after the year, month or day that begins at `day`."""
    if date:
        following = datetime(*day) + timedelta(days=1) if day != (9999, 12, 31) else None
        return (following.year, following.month, following.day) if following else (10_000, 1, 1)
    if month and day[1] < 12:
        return day[0], day[1] + 1, 1
    return day[0] + 1, 1, 1


def _ms_of_end(day: tuple[int, int, int], zone: tzinfo) -> int:
    if day[0] > 9999:  # a year that datetime does not know
        return _ms(datetime(9999, 12, 31, tzinfo=zone)) + _DAY_MS
    return _ms(datetime(*day, tzinfo=zone))


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _offset(text: str) -> timezone:
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError("not a zone that exists")
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


def period_range(start: str | None, end: str | None, zone: tzinfo) -> tuple[int, int]:
    """The range of a Period: from the beginning of `start` to the end of `end`.

    An end that is not there is open: TIME_MIN, TIME_MAX. Raises ValueError if neither is
    there, one is no date, or they are the wrong way round.
    """
    if start is None and end is None:
        raise ValueError("a period without start and end")
    lo = TIME_MIN if start is None else date_range(start, zone)[0]
    hi = TIME_MAX if end is None else date_range(end, zone)[1]
    if lo >= hi:
        raise ValueError("a period that ends before it starts")
    return lo, hi


# Numbers.


def implied_range(text: str) -> tuple[float, float]:
    """The half-open range [lo, hi) that a number means by the digits it is written with.

    Half of the last digit's place on either side: 100 is 99.5 to 100.5, 1.0 is 0.95 to 1.05.
    With an exponent and no decimals one more digit is taken as given, because the
    specification reads 1e2 as 95 to 105 (R4 search.html#number). Raises ValueError for a text
    that is no decimal number, or too large for an IEEE double.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None or len(text) > NUMBER_CHARACTERS_MAX:
        raise ValueError("not a number such as 100, 5.40 or 1e-3")
    value = Decimal(text)
    place = value.as_tuple().exponent
    assert isinstance(place, int)  # infinities do not match
    if match["exponent"] and not match["fraction"]:
        place -= 1
    half = Decimal(5).scaleb(place - 1)
    lo, hi = float(value - half), float(value + half)
    if not (isfinite(lo) and isfinite(hi)):
        raise ValueError("a number too large to be compared")
    return lo, hi
