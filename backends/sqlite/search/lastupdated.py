"""`_lastUpdated`: within a type, rids are in the order of time, so a time is a place among them."""

from collections.abc import Sequence

from backends.sqlite import instants
from backends.sqlite.search.sets import Changed
from backends.sqlite.search.view import Interval, View
from engine.fhir.search.tree import TIME_MAX, TIME_MIN, Instant, Prefix


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
    """See instants.last_before. At the open end of time nothing has to be looked for."""
    if ms <= TIME_MIN:
        return interval.low
    return instants.last_before(view.connection, interval.low, interval.high, ms)


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
