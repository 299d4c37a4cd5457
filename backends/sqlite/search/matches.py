"""All matches of a query at once, as the FROM of a statement: to be counted, or to be kept."""

from collections.abc import Sequence

from backends.sqlite.search.binding import Binder
from backends.sqlite.search.plan import Plan, conditions, gives_once
from backends.sqlite.search.sets import Everything, Set, within
from backends.sqlite.search.view import Interval


def all_of(b: Binder, plan: Plan, interval: Interval) -> str:
    """FROM and WHERE of a statement over `c.res`, each match once."""
    driver, others = driver_of(plan)
    wanted = conditions(b, "c.res", others)
    if isinstance(driver, Everything):
        return f"FROM live AS c WHERE {within(b, 'c.res', interval)}{wanted}"
    distinct = "" if gives_once(driver) else "DISTINCT "
    scan = f"SELECT {distinct}s.res FROM ({driver.scan(b)}) AS s"
    return f"FROM ({scan} WHERE {within(b, 's.res', interval)}) AS c WHERE 1{wanted}"


def driver_of(plan: Plan) -> tuple[Set, Sequence[Set]]:
    """Any set that can be read as a whole is less than everything. One that would be collected
    for each question is best read once."""
    rest = (*plan.hard, *plan.probes)
    if not isinstance(plan.driver, Everything):
        return plan.driver, rest
    found = next((one for one in rest if one.scannable), None)
    if found is None:
        return plan.driver, rest
    return found, tuple(one for one in rest if one is not found)
