"""How many resources match: counted in the index, where a single list of it is enough."""

from collections.abc import Sequence
from typing import Any

from backends.sqlite.search.criteria import criteria_sets
from backends.sqlite.search.matches import all_of, driver_of
from backends.sqlite.search.ordered import Ordered
from backends.sqlite.search.plan import Plan, make_plan
from backends.sqlite.search.sets import within
from backends.sqlite.search.view import Interval, View
from engine.fhir.search.tree import Query


def count_matches(view: View, query: Query) -> int:
    """All that match, exactly."""
    if not query.criteria:
        return _live(view, query.types)
    intervals = view.intervals(query.types)
    plan = make_plan(view, criteria_sets(view, query.criteria, query.types), intervals)
    return sum(_count(view, plan, interval) for interval in intervals)


def _live(view: View, types: Sequence[str]) -> int:
    rows: Any = view.connection.execute("SELECT name, live FROM resource_type").fetchall()
    return sum(live for name, live in rows if not types or name in types)


def _count(view: View, plan: Plan, interval: Interval) -> int:
    driver, others = driver_of(plan)
    if isinstance(driver, Ordered) and not others and driver.splits:
        return _count_rows(view, driver, interval)
    b = view.binder()
    count: int = view.run(f"SELECT count(*) {all_of(b, plan, interval)}", b)[0][0]
    return count


def _count_rows(view: View, one: Ordered, interval: Interval) -> int:
    """Of one comparison. Most rows are their resource's only one, so they need not be told
    apart: that takes most of the time."""
    b = view.binder()
    alone = f"({one.rows(b, ' AND edge = 3')})"
    several = f"({one.rows(b, ' AND edge <> 3')})"
    statement = (
        f"SELECT (SELECT count(*) FROM {alone} AS s WHERE {within(b, 's.res', interval)}) + "
        f"(SELECT count(DISTINCT s.res) FROM {several} AS s WHERE {within(b, 's.res', interval)})"
    )
    count: int = view.run(statement, b)[0][0]
    return count
