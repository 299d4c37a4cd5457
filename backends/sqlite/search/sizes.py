"""How large sets are, as far as that matters: SQLite's own guesses are not trusted.

A set that is small is fetched, and is then a list of numbers. What is larger than that is broad:
walking through resources in their order meets enough of it soon.
"""

from backends.sqlite.search.references import Backward, Forward
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


def fetch(view: View, one: Set, interval: Interval, limit: int) -> Explicit | None:
    """All of a set; None if its scan has more than `limit` rows."""
    b = view.binder()
    statement = (
        f"SELECT s.res FROM ({one.scan(b)}) AS s "
        f"WHERE {within(b, 's.res', interval)} LIMIT {limit + 1}"
    )
    rows = view.run(statement, b)
    return None if len(rows) > limit else Explicit(tuple(sorted({res for (res,) in rows})))


def solve(view: View, one: Set, interval: Interval) -> Set:
    """The set as a list of its numbers, if it is small; else as it is."""
    if isinstance(one, Explicit):
        return Explicit(tuple(n for n in one.numbers if interval.low < n <= interval.high))
    if isinstance(one, Not):
        return Not(solve(view, one.inner, interval)) if not one.light else one
    if not one.scannable:
        return one
    if isinstance(one, Forward | Backward):
        return _solve_join(view, one, interval)
    limit = view.limits.fetched
    if measure(view, one, interval, limit) > limit:
        return one
    return fetch(view, one, interval, limit) or one


def _solve_join(view: View, one: Forward | Backward, interval: Interval) -> Set:
    """A join costs as much to count as to fetch, 3 microseconds a row. If what it starts from is
    broad, it is left alone where many resources are in it: asking each is cheaper then."""
    if not isinstance(one.inner, Explicit) and _is_frequent(view, one, interval):
        return one
    return fetch(view, one, interval, view.limits.joined) or one


def _is_frequent(view: View, one: Set, interval: Interval) -> bool:
    """Whether more than a tenth of some resources are in a set. It asks the first ones; whatever
    it says, only time depends on it."""
    b = view.binder()
    some = view.limits.asked
    first = f"SELECT res FROM live WHERE {within(b, 'res', interval)} ORDER BY res LIMIT {some}"
    statement = f"SELECT count(*) FROM ({first}) AS c WHERE {one.holds(b, 'c.res')}"
    count: int = view.run(statement, b)[0][0]
    return count * 10 > some
