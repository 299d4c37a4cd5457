"""How many resources match: counted in the index, where a single list of it is enough."""

from collections.abc import Sequence
from typing import Any

from backends.sqlite.search.criteria import criteria_sets
from backends.sqlite.search.plan import Plan, conditions, gives_once, make_plan
from backends.sqlite.search.sets import Everything, Set, within
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
    driver, others = _driver(plan)
    b = view.binder()
    if isinstance(driver, Everything):
        source = "live AS c"
    else:
        distinct = "" if gives_once(driver) else "DISTINCT "
        scan = f"SELECT {distinct}s.res FROM ({driver.scan(b)}) AS s"
        source = f"({scan} WHERE {within(b, 's.res', interval)}) AS c"
    wanted = conditions(b, "c.res", others)
    statement = f"SELECT count(*) FROM {source} WHERE {within(b, 'c.res', interval)}{wanted}"
    count: int = view.run(statement, b)[0][0]
    return count


def _driver(plan: Plan) -> tuple[Set, tuple[Set, ...]]:
    """Any set that can be read as a whole is less than everything. One that would be collected
    for each question is best read once."""
    rest = (*plan.hard, *plan.probes)
    if not isinstance(plan.driver, Everything):
        return plan.driver, rest
    found = next((one for one in rest if one.scannable), None)
    if found is None:
        return plan.driver, rest
    return found, tuple(one for one in rest if one is not found)
