"""Walks through the candidates of a search, in the order of their numbers or of their changes."""

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backends.sqlite.search.plan import Age, Plan, conditions, gives_once
from backends.sqlite.search.sets import Everything, Explicit, Set, within
from backends.sqlite.search.view import SEQ_MASK, Interval, View
from engine.fhir.search.rows import Rows
from engine.model import Version

Key = tuple[Any, ...]  # sort values: None, text or numbers

CHUNK_MIN, CHUNK_MAX = 64, 4096  # of a list of numbers that is walked


@dataclass(frozen=True)
class Place:
    """Where a walk stands: behind a resource."""

    key: Key
    res: int


@dataclass
class Hit:
    """A candidate. Its body is read when somebody needs it, and once."""

    key: Key
    res: int
    rid: int
    _version: Version | None = None
    _rows: Rows | None = None

    @property
    def place(self) -> Place:
        return Place(self.key, self.res)

    def version(self, view: View) -> Version:
        """The current version."""
        if self._version is None:
            self._version = view.version(self.rid)
        return self._version

    def rows(self, view: View) -> Rows:
        """What its body says."""
        if self._rows is None:
            self._rows = view.rows(self.version(view))
        return self._rows


class Walk(Protocol):
    """Candidates in one order."""

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """The next `count` that are also in these sets. Fewer: there are no more."""
        ...


@dataclass(frozen=True)
class ByNumber:
    """In ascending order of res: as they were created."""

    view: View
    plan: Plan
    intervals: Sequence[Interval]
    age: Age = Age()
    key: Key = ()

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        found: list[Hit] = []
        for interval in self.intervals:
            left = interval if after is None else interval.after(after.res)
            if not left.empty and len(found) < count:
                found += self._part(left, count - len(found), sets)
        return found

    def _part(self, interval: Interval, count: int, sets: Sequence[Set]) -> list[Hit]:
        driver = self.plan.driver
        if isinstance(driver, Explicit):
            return self._listed(driver.numbers, interval, count, sets)
        if isinstance(driver, Everything):
            return self._collecting(interval, count, sets)
        return self._run(driver, interval, count, (*self.plan.probes, *sets))

    def _collecting(self, interval: Interval, count: int, sets: Sequence[Set]) -> list[Hit]:
        """If a set must be collected anyway, start from it: SQLite keeps the least alone."""
        collected = next((one for one in sets if one.scannable and not one.light), None)
        if collected is None:
            return self._run(self.plan.driver, interval, count, (*self.plan.probes, *sets))
        rest = tuple(one for one in (*self.plan.probes, *sets) if one is not collected)
        return self._run(collected, interval, count, rest)

    def _listed(
        self, numbers: Sequence[int], interval: Interval, count: int, sets: Sequence[Set]
    ) -> list[Hit]:
        """Of a list, so many at a time: SQLite would put all of it in order first."""
        found: list[Hit] = []
        start, size = bisect_right(numbers, interval.low), max(CHUNK_MIN, count)
        end = bisect_right(numbers, interval.high)
        while start < end and len(found) < count:
            chunk = Explicit(tuple(numbers[start : min(start + size, end)]))
            found += self._run(chunk, interval, count - len(found), (*self.plan.probes, *sets))
            start, size = start + size, min(size * 4, CHUNK_MAX)
        return found

    def _run(self, driver: Set, interval: Interval, count: int, sets: Sequence[Set]) -> list[Hit]:
        b = self.view.binder()
        if isinstance(driver, Everything):
            source, res = "live AS l", "l.res"
        else:
            distinct = "" if gives_once(driver) else "DISTINCT "
            scan = f"SELECT {distinct}s.res FROM ({driver.scan(b)}) AS s"
            scan += f" WHERE {within(b, 's.res', interval)}"
            source, res = f"({scan}) AS c CROSS JOIN live AS l ON l.res = c.res", "c.res"
        statement = (
            f"SELECT {res}, l.rid FROM {source} "
            f"WHERE {within(b, res, interval)} AND {self.age.condition(b, 'l.rid')}"
            f"{conditions(b, res, sets)} ORDER BY {res} LIMIT {b.value(count)}"
        )
        return [Hit(self.key, res, rid) for res, rid in self.view.run(statement, b)]


@dataclass(frozen=True)
class ByChange:
    """What changed after a state, in the order of the changes. The key is the change's seq."""

    view: View
    plan: Plan
    intervals: Sequence[Interval]  # each of one type
    since: int  # seq

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        seq = self.since if after is None else after.key[0]
        each = (self._part(interval, seq, count, sets) for interval in self.intervals)
        return heapq.nsmallest(count, (hit for part in each for hit in part), lambda hit: hit.key)

    def _part(self, interval: Interval, seq: int, count: int, sets: Sequence[Set]) -> list[Hit]:
        b = self.view.binder()
        wanted = conditions(b, "l.res", (*self.plan.sets, *sets))
        statement = (
            "SELECT l.res, l.rid FROM live AS l "
            f"WHERE {within(b, 'l.rid', Interval(interval.low | seq, interval.high))}{wanted} "
            f"ORDER BY l.rid LIMIT {b.value(count)}"
        )
        return [Hit((rid & SEQ_MASK,), res, rid) for res, rid in self.view.run(statement, b)]
