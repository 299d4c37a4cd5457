"""Plan: from which set a statement starts, and how it asks for the others.

The order of the joins is ours (CROSS JOIN). A statement starts from few resources or from all of
them in their order; what cannot be asked about one resource is looked up in its body, or
collected if bodies say yes too seldom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backends.sqlite.search.binding import Binder
from backends.sqlite.search.ordered import Ordered
from backends.sqlite.search.references import Pointers
from backends.sqlite.search.sets import Changed, Everything, Explicit, Postings, Set, within
from backends.sqlite.search.sizes import measure, solve
from backends.sqlite.search.view import EVERYTHING, SEQ_MASK, Interval, View


@dataclass(frozen=True)
class Plan:
    """A conjunction of sets."""

    driver: Set
    probes: tuple[Set, ...]  # the others that are cheap to ask
    hard: tuple[Set, ...]  # can be told from a body, or collected
    count_max: int | None  # of the driver, where that is known

    @property
    def sets(self) -> tuple[Set, ...]:
        """All that are cheap to ask, the driver included."""
        return self.probes if isinstance(self.driver, Everything) else (self.driver, *self.probes)


def make_plan(view: View, sets: Sequence[Set], intervals: Sequence[Interval]) -> Plan:
    """Choose the driver by counting, as far as it matters."""
    if not intervals:
        return Plan(Explicit(()), (), (), 0)
    hull = Interval(intervals[0].low, intervals[-1].high)
    streams = [one for one in sets if is_stream(one)]
    others = [one for one in sets if not is_stream(one)]
    driver, count = _smallest(view, streams, hull)
    if count is None or count > view.limits.few:
        others = [solve(view, one, hull) for one in others]
    explicit = [one for one in others if isinstance(one, Explicit)]
    others = [one for one in others if not isinstance(one, Explicit)]
    if explicit:
        both = _intersection(explicit)
        if driver is None or count is None or len(both.numbers) <= count:
            others = [*([] if driver is None else [driver]), *others]
            driver, count = both, len(both.numbers)
        else:
            others.append(both)
    if driver is None:
        driver = _changed(view, others, hull)
    rest = [one for one in (*streams, *others) if one is not driver]
    rest = list(dict.fromkeys(rest))
    hard = tuple(one for one in rest if not one.light and one.by_body)
    probes = tuple(one for one in rest if one not in hard)
    return Plan(driver or Everything(), probes, hard, count)


def _changed(view: View, sets: Sequence[Set], hull: Interval) -> Set | None:
    """What was written in some time, if that is not too much. Its numbers lie together, mostly
    at the end, so walking through all of them would meet it late."""
    for one in sets:
        if isinstance(one, Changed):
            limit = view.limits.joined
            return one if measure(view, one, hull, limit) <= limit else None
    return None


def gives_once(one: Set) -> bool:
    """Whether a scan gives each resource once."""
    if isinstance(one, Changed):
        return len(one.ranges) <= 1
    return is_stream(one) or isinstance(one, Explicit) or (isinstance(one, Ordered) and one.once)


def is_stream(one: Set) -> bool:
    """Whether a scan gives the numbers in ascending order, each once."""
    if isinstance(one, Postings):
        return len(one.keys) == 1
    return isinstance(one, Pointers) and len(one.paths) == 1 and len(one.targets) == 1


def _smallest(view: View, streams: Sequence[Set], hull: Interval) -> tuple[Set | None, int | None]:
    """The smallest of some sets, and its size if it is known."""
    if not streams:
        return None, None
    smallest = streams[0]
    for limit in view.limits.counted:
        counts = [(measure(view, one, hull, limit), place) for place, one in enumerate(streams)]
        count, place = min(counts)
        smallest = streams[place]
        if count <= limit:
            return smallest, count
        if len(streams) == 1:
            break
    return smallest, None


def _intersection(sets: Sequence[Explicit]) -> Explicit:
    numbers = set(sets[0].numbers)
    for one in sets[1:]:
        numbers &= set(one.numbers)
    return Explicit(tuple(sorted(numbers)))


def inside(b: Binder, res: str, intervals: Sequence[Interval]) -> str:
    """A condition: `res` lies in one of the intervals."""
    if tuple(intervals) == (EVERYTHING,):
        return "1"
    return f"({' OR '.join(within(b, res, interval) for interval in intervals) or '0'})"


@dataclass(frozen=True)
class Age:
    """Current versions by the state they came with: older < seq <= newer."""

    older: int = 0
    newer: int = SEQ_MASK

    def condition(self, b: Binder, rid: str) -> str:
        """On a rid."""
        if self == Age():
            return "1"
        seq = f"({rid} & {SEQ_MASK})"
        return f"{seq} > {b.value(self.older)} AND {seq} <= {b.value(self.newer)}"


def conditions(b: Binder, res: str, sets: Sequence[Set]) -> str:
    """`res` is in all of these sets: what goes after other conditions."""
    return "".join(f" AND {one.holds(b, res)}" for one in sets)
