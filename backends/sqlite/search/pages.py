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
from backends.sqlite.search.plan import Age, Plan, make_plan
from backends.sqlite.search.sets import Not, Set
from backends.sqlite.search.sorting import ById, ByKeys, ByTime, ByValue, InMemory
from backends.sqlite.search.sortvalues import AnyKey, IdKey, TimeKey, ValueKey, sort_key
from backends.sqlite.search.view import Interval, View
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
    plan = make_plan(view, criteria_sets(view, query.criteria, query.types), intervals)
    age = Age(newer=seq) if seq < view.seq else Age()
    sections = _sorted(view, query, plan, intervals, age)
    if seq < view.seq:
        each = view.single_intervals(query.types)
        sections.append(Section(ByChange(view, plan, each, seq), plan.hard, changed=True))
    return sections


def _sorted(
    view: View, query: Query, plan: Plan, intervals: Sequence[Interval], age: Age
) -> list[Section]:
    numbered = ByNumber(view, plan, intervals, age)
    keys = tuple(sort_key(view, key) for key in query.sort)
    if not keys:
        return [Section(numbered, plan.hard)]
    if plan.count_max is not None and plan.count_max <= view.limits.sorted_in_memory:
        return [Section(InMemory(view, numbered, keys, plan.count_max), plan.hard)]
    if len(keys) > 1:
        return [Section(ByKeys(view, plan, intervals, age, keys), plan.hard)]
    return _by_one_key(view, query, keys[0], numbered)


def _by_one_key(view: View, query: Query, key: AnyKey, numbered: ByNumber) -> list[Section]:
    plan, age = numbered.plan, numbered.age
    match key:
        case TimeKey():
            each = view.single_intervals(query.types)
            return [Section(ByTime(view, plan, each, age, key.descending), plan.hard)]
        case IdKey():
            each = view.single_intervals(query.types)
            return [Section(ById(view, plan, each, age, key.descending), plan.hard)]
        case ValueKey():
            parameter = query.sort[0].parameter
            assert parameter is not None
            without = Not(valued(view, parameter))
            probes, hard = plan.probes, plan.hard
            if without.light:
                probes = (*probes, without)
            else:
                hard = (*hard, without)
            rest = ByNumber(
                view,
                Plan(plan.driver, probes, (), plan.count_max),
                numbered.intervals,
                age,
                key=(None,),
            )
            walk = ByValue(view, plan, numbered.intervals, age, key)
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
