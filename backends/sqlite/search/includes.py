"""What a page includes: `_include` follows references of what was found, `_revinclude` comes back.

Each resource once, and no match of the page. Source: FHIR R4 search.html, "Including other
resources in result".
"""

from collections.abc import Iterable, Sequence
from typing import Final

from backends.sqlite.search.sets import within
from backends.sqlite.search.view import Interval, View
from backends.sqlite.search.walks import Hit
from engine.errors import TooCostly
from engine.fhir.search.tree import Include

INCLUDED_MAX: Final = 1_000  # resources of one page
STEPS_MAX: Final = 100  # of :iterate; rings end earlier, because each comes once

# Of one statement: more than these cannot be on a page, whatever is there already.
_ROWS_MAX: Final = 2 * INCLUDED_MAX + 1_000

Found = dict[int, int]  # rid by res, in the order they were found


def included(view: View, includes: Sequence[Include], matches: Iterable[Hit]) -> list[Hit]:
    """What goes with these matches. Raises TooCostly if it is too much."""
    walk = _Including(view, {hit.res: hit.rid for hit in matches})
    new = walk.step(includes, walk.known)
    again = [include for include in includes if include.iterate]
    for _ in range(STEPS_MAX if again else 0):
        if not new:
            break
        new = walk.step(again, new)
    return [Hit((), res, rid) for res, rid in list(walk.known.items())[walk.matches :]]


class _Including:
    """What is on a page so far."""

    def __init__(self, view: View, known: Found) -> None:
        self.view = view
        self.known = known
        self.matches = len(known)

    def step(self, includes: Iterable[Include], sources: Found) -> Found:
        """One step from these. Returns what is new."""
        new: Found = {}
        sources = dict(sources)
        for include in includes:
            follow = _back if include.reverse else _on
            for res, rid in sorted(follow(self.view, include, sources)):
                if res not in self.known:
                    self.known[res] = new[res] = rid
            if len(self.known) - self.matches > INCLUDED_MAX:
                raise TooCostly(
                    f"a page includes at most {INCLUDED_MAX} resources, and one of its matches "
                    "alone has more: leave out an _include or _revinclude, and search for what "
                    "it would bring",
                    expression="_include",
                )
        return new


def _on(view: View, include: Include, sources: Found) -> list[tuple[int, int]]:
    """Where references of these lead."""
    start, end = view.interval(include.source), view.interval(include.target)
    numbers = _of(sources, start)
    paths = _paths(view, include)
    if not numbers or not paths or end.empty:
        return []
    b = view.binder()
    statement = (
        f"SELECT DISTINCT t.res, t.rid FROM {b.table(numbers)} AS a "
        f"CROSS JOIN fwd AS f ON f.res = a.value AND {b.equal('+f.p', paths)} "
        "CROSS JOIN live AS t ON t.tkey = f.target "
        f"WHERE {within(b, '+t.res', end)} LIMIT {_ROWS_MAX}"
    )
    return view.run(statement, b)


def _back(view: View, include: Include, sources: Found) -> list[tuple[int, int]]:
    """What refers to these."""
    start, end = view.interval(include.source), view.interval(include.target)
    numbers = _of(sources, end)
    paths = _paths(view, include)
    if not numbers or not paths or start.empty:
        return []
    b = view.binder()
    statement = (
        f"SELECT DISTINCT t.res, t.rid FROM {b.table(numbers)} AS a "
        "CROSS JOIN live AS m ON m.res = a.value "
        f"CROSS JOIN ref AS r ON r.target = m.tkey AND {b.equal('r.p', paths)} "
        "CROSS JOIN live AS t ON t.res = r.res "
        f"WHERE {within(b, 'r.res', start)} LIMIT {_ROWS_MAX}"
    )
    return view.run(statement, b)


def _of(sources: Found, interval: Interval) -> list[int]:
    return [res for res in sources if interval.low < res <= interval.high]


def _paths(view: View, include: Include) -> tuple[int, ...]:
    """Numbers of the paths to follow: those where references to the wanted type may stand."""
    return tuple(
        dict.fromkeys(
            path
            for parameter in include.parameters
            for path in (
                view.reference_paths(parameter, include.target)
                if include.target
                else view.paths(parameter)
            )
        )
    )
