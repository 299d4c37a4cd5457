"""Pages: what is on one page of a search, and where the next one begins.

A search is read in sections, one after the other: what has a sort value, what has none, and what
changed since the first page was read. The first two leave out what changed, so what did not
change stands where it stood, and comes exactly once; the last one brings what changed and still
matches, in the order of the changes, however often it changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from backends.sqlite.search.criteria import criteria_sets, valued
from backends.sqlite.search.ordered import Ordered
from backends.sqlite.search.plan import Age, Plan, make_plan
from backends.sqlite.search.sets import Not, Set
from backends.sqlite.search.sorting import ByGroups, ById, ByKeys, ByTime, ByValue, InMemory
from backends.sqlite.search.sortvalues import AnyKey, TimeKey, ValueKey, sort_key
from backends.sqlite.search.view import View
from backends.sqlite.search.walks import ByChange, ByNumber, Hit, Key, Place, Walk
from engine.errors import BadParameter
from engine.fhir.search.tree import Query


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins."""

    seq: int  # of the first page's state
    changed: bool  # in the last section
    key: tuple[str | int | float | None, ...]
    res: int


@dataclass(frozen=True)
class Section:
    """One walk, and what its candidates have to be in besides."""

    walk: Walk
    hard: tuple[Set, ...]
    changed: bool = False
    without: bool = False  # only those without a value of the first key


@dataclass(frozen=True)
class Page:
    """Hits in their order, each with the position behind it."""

    hits: tuple[tuple[Hit, bytes], ...]
    more: bool


def read_page(view: View, query: Query, *, limit: int, position: bytes) -> Page:
    """The page that begins at a position; b"" for the first one. Raises BadParameter."""
    start = _decoded(view, query, position) if position else None
    seq = view.seq if start is None else start.seq
    after = None if start is None else Place(start.key, start.res)
    found: list[tuple[Hit, bytes]] = []
    for section in _left(_sections(view, query, seq), start):
        hits = _collect(view, section, after, limit + 1 - len(found))
        found += [(hit, _encoded(Position(seq, section.changed, *_ends(hit)))) for hit in hits]
        if len(found) > limit:
            break
        after = None
    return Page(tuple(found[:limit]), more=len(found) > limit)


def _left(sections: list[Section], start: Position | None) -> list[Section]:
    """The sections from the one on that a position lies in. Another page may have been read in
    other sections, because there were fewer candidates: their places mean the same."""
    if start is None:
        return sections
    if start.changed:
        return [section for section in sections if section.changed]
    if start.key and start.key[0] is None and any(section.without for section in sections):
        return [section for section in sections if section.changed or section.without]
    return sections


def _ends(hit: Hit) -> tuple[Key, int]:
    return hit.key, hit.res


def _encoded(position: Position) -> bytes:
    return msgspec.msgpack.encode(position)


def _decoded(view: View, query: Query, position: bytes) -> Position:
    error = BadParameter("this is no page of this search: begin again with the first one")
    try:
        found = msgspec.msgpack.decode(position, type=Position)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise error from None
    # A store that was restored from a backup may be older than the page.
    if found.seq > view.seq or len(found.key) != (1 if found.changed else len(query.sort)):
        raise error
    return found


def _sections(view: View, query: Query, seq: int) -> list[Section]:
    intervals = view.intervals(query.types)
    sets = criteria_sets(view, query.criteria, query.types)
    keys = tuple(sort_key(view, key) for key in query.sort)
    own = _own(keys, sets)
    plan = make_plan(view, [one for one in sets if one is not own], intervals)
    age = Age(newer=seq) if seq < view.seq else Age()
    sorting = _Sorting(view, query, keys, own, ByNumber(view, plan, intervals, age))
    sections = sorting.sections()
    if seq < view.seq:
        each = view.single_intervals(query.types)
        sections.append(Section(ByChange(view, plan, each, seq), sorting.hard, changed=True))
    return sections


def _own(keys: Sequence[AnyKey], sets: Sequence[Set]) -> Ordered | None:
    """A criterion on the values that the results are sorted by: it bounds the walk."""
    if len(keys) == 1 and isinstance(keys[0], ValueKey):
        for one in sets:
            if isinstance(one, Ordered) and len(one.keys) == 1 and one.keys == keys[0].paths:
                return one
    return None


@dataclass(frozen=True)
class _Sorting:
    """How the results come in the query's order."""

    view: View
    query: Query
    keys: tuple[AnyKey, ...]
    own: Ordered | None
    numbered: ByNumber

    @property
    def hard(self) -> tuple[Set, ...]:
        """All sets that are not part of the plan's statements."""
        own = () if self.own is None else (self.own,)
        return (*self.numbered.plan.hard, *own)

    def sections(self) -> list[Section]:
        """The sections of what did not change."""
        view, keys, plan = self.view, self.keys, self.numbered.plan
        if not keys:
            return [Section(self.numbered, self.hard)]
        count = plan.count_max
        if count is not None and count <= view.limits.sorted_in_memory:
            return [Section(InMemory(view, self.numbered, keys, count), self.hard)]
        if len(keys) == 1 and isinstance(keys[0], ValueKey):
            return self._by_value(keys[0])
        return [Section(self._walk(), self.hard)]

    def _walk(self) -> Walk:
        view, keys, plan, age = self.view, self.keys, self.numbered.plan, self.numbered.age
        each = view.single_intervals(self.query.types)
        first = keys[0]
        if len(keys) > 1:
            by_keys = ByKeys(view, plan, self.numbered.intervals, age, keys)
            if not isinstance(first, ValueKey):
                return by_keys
            along = ByValue(view, plan, self.numbered.intervals, age, first)
            return ByGroups(along, keys, by_keys)
        if isinstance(first, TimeKey):
            return ByTime(view, plan, each, age, first.descending)
        return ById(view, plan, each, age, first.descending)

    def _by_value(self, key: ValueKey) -> list[Section]:
        """First what has a value, then what has none."""
        numbered, plan = self.numbered, self.numbered.plan
        walk = ByValue(self.view, plan, numbered.intervals, numbered.age, key, self.own)
        if self.own is not None:
            return [Section(walk, plan.hard if self.own.single else self.hard)]
        parameter = self.query.sort[0].parameter
        assert parameter is not None
        without = Not(valued(self.view, parameter))
        probes = (*plan.probes, without) if without.light else plan.probes
        hard = plan.hard if without.light else (*plan.hard, without)
        asked = Plan(plan.driver, probes, (), plan.count_max)
        rest = ByNumber(self.view, asked, numbered.intervals, numbered.age, key=(None,))
        return [Section(walk, plan.hard), Section(rest, hard, without=True)]


def _collect(view: View, section: Section, after: Place | None, count: int) -> list[Hit]:
    """The next hits of a section. Bodies tell whether a candidate is in the sets that cannot be
    asked for it; if they say no too often, SQLite collects those sets."""
    if not section.hard or isinstance(section.walk, InMemory):
        return section.walk.next(after, count, section.hard)
    found: list[Hit] = []
    looked, looked_max = 0, view.limits.looked_into
    size = 2 * count
    while len(found) < count and looked < looked_max:
        size = min(size, looked_max - looked)
        batch = section.walk.next(after, size, ())
        for hit in batch:
            looked += 1
            after = hit.place
            if all(one.said(hit.rows(view)) for one in section.hard):
                found.append(hit)
                if len(found) == count:
                    return found
        if len(batch) < size:
            return found
        size *= 2
    return found + section.walk.next(after, count - len(found), section.hard)
