"""`_lastUpdated`: within a type, rids are in the order of time, so a time is a place among them."""

from collections.abc import Sequence
from typing import Any

from backends.sqlite.search.sets import Changed
from backends.sqlite.search.view import Interval, View
from engine.fhir.search.tree import TIME_MAX, TIME_MIN, Instant, Prefix

_SEEK = "SELECT rid, upd_ms FROM version WHERE rid >= ? AND rid <= ? ORDER BY rid LIMIT 1"


def changed_within(view: View, values: Sequence[Instant], types: Sequence[str]) -> Changed:
    """Resources whose current version was written in one of these times."""
    ranges = []
    for interval in view.single_intervals(types):
        for value in values:
            for since, until in _times(value):
                first = last_before(view, interval, since)
                last = last_before(view, interval, until)
                if first < last:
                    ranges.append((first, last))
    return Changed(tuple(ranges))


def last_before(view: View, interval: Interval, ms: int) -> int:
    """A rid that divides a type's versions: those written before `ms` are not above it."""
    if ms <= TIME_MIN:
        return interval.low
    low, high = interval.low, interval.high  # all up to low are before; all above high are not
    while low < high:
        middle = (low + high) // 2 + 1
        row: Any = view.connection.execute(_SEEK, (middle, high)).fetchone()
        if row is None:
            high = middle - 1
        elif row[1] < ms:
            low = row[0]
        else:
            high = middle - 1
    return low


def _times(value: Instant) -> list[tuple[int, int]]:
    """When a resource was written that matches: since <= ms < until. An instant of a millisecond
    is a range as every other date."""
    since, until = value.lo_ms, value.hi_ms
    match value.prefix:
        case Prefix.EQ | Prefix.AP:
            return [(since, until)]
        case Prefix.NE:
            return [(TIME_MIN, since), (until, TIME_MAX)]
        case Prefix.GT | Prefix.SA:
            return [(until, TIME_MAX)]
        case Prefix.GE:
            return [(since, TIME_MAX)]
        case Prefix.LT | Prefix.EB:
            return [(TIME_MIN, since)]
        case Prefix.LE:
            return [(TIME_MIN, until)]
