"""How large sets are, as far as that matters: SQLite's own guesses are not trusted.

A set that is small is fetched, and is then a list of numbers. What is larger than that is broad:
walking through resources in their order meets enough of it soon.
"""

from backends.sqlite.search.sets import Explicit, Not, Set, within
from backends.sqlite.search.view import Interval, View


def measure(view: View, one: Set, interval: Interval, limit: int) -> int:
    """How many rows a scan has, at most `limit` + 1."""
    b = view.binder()
    statement = (
        f"SELECT count(*) FROM (SELECT 1 FROM ({one.scan(b)}) AS s "
        f"WHERE {within(b, 's.res', interval)} LIMIT {limit + 1})"
    )
    count: int = view.run(statement, b)[0][0]
    return count


def fetch(view: View, one: Set, interval: Interval) -> Explicit:
    """All of a set."""
    b = view.binder()
    statement = (
        f"SELECT DISTINCT s.res FROM ({one.scan(b)}) AS s WHERE {within(b, 's.res', interval)}"
    )
    return Explicit(tuple(sorted(res for (res,) in view.run(statement, b))))


def solve(view: View, one: Set, interval: Interval) -> Set:
    """The set as a list of its numbers, if it is small; else as it is."""
    if isinstance(one, Explicit):
        return Explicit(tuple(n for n in one.numbers if interval.low < n <= interval.high))
    if isinstance(one, Not):
        return Not(solve(view, one.inner, interval)) if not one.light else one
    limit = view.limits.fetched
    if not one.scannable or measure(view, one, interval, limit) > limit:
        return one
    return fetch(view, one, interval)
