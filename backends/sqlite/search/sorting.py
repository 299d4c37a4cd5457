"""Walks in the order of `_sort`.

One key is walked along the index that holds it. Few candidates are put in order by their bodies.
What is left, several keys over many candidates, is put in order by SQLite, which keeps a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backends.sqlite.search.binding import Binder
from backends.sqlite.search.lastupdated import last_before
from backends.sqlite.search.ordered import Ordered
from backends.sqlite.search.plan import Age, Plan, conditions, inside
from backends.sqlite.search.sets import Set, within
from backends.sqlite.search.sortvalues import (
    COLUMNS,
    AnyKey,
    IdKey,
    TimeKey,
    ValueKey,
    keyed,
    place_order,
)
from backends.sqlite.search.view import Interval, View
from backends.sqlite.search.walks import ByNumber, Hit, Place
from backends.sqlite.types import SEQ_BITS


@dataclass(frozen=True)
class InMemory:
    """Few candidates, in any order, those without a value included."""

    view: View
    candidates: ByNumber
    keys: tuple[AnyKey, ...]
    count_max: int

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        order = place_order(self.keys)
        found = self.candidates.next(None, self.count_max, [s for s in sets if not s.by_body])
        asked = [one for one in sets if one.by_body]
        hits = [
            keyed(hit, self.keys, self.view)
            for hit in found
            if all(one.said(hit.rows(self.view)) for one in asked)
        ]
        if after is not None:
            behind = order(after)
            hits = [hit for hit in hits if order(hit.place) > behind]
        return sorted(hits, key=lambda hit: order(hit.place))[:count]


@dataclass(frozen=True)
class ByValue:
    """Those with a value, along the index of one parameter."""

    view: View
    plan: Plan
    intervals: Sequence[Interval]
    age: Age
    sort: ValueKey
    own: Ordered | None = None  # a criterion on the very values that are sorted by

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk. The extreme of one path is not always that of the resource, and a token does
        not say whether it is one: then the body does."""
        if not self.sort.paths:
            return []
        if self.sort.table != "tok" and len(self.sort.paths) == 1:
            return self._rows(after, count, sets)
        found: list[Hit] = []
        while len(found) < count:
            size = max(count - len(found), 16)
            batch = self._rows(after, size, sets)
            for hit in batch:
                twice = after is not None and hit.place == after
                if not twice and self.sort.value(hit, self.view) == hit.key[0]:
                    found.append(hit)
                after = hit.place
            if len(batch) < size:
                break
        return found[:count]

    def _rows(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        b = self.view.binder()
        token = self.sort.table == "tok"
        source, value = self._token(b) if token else self._column(b)
        direction = "DESC" if self.sort.descending else "ASC"
        order = value if not token else f"d.code {direction}, d.system"
        statement = (
            f"SELECT {value}, s.res, l.rid FROM {source} CROSS JOIN live AS l ON l.res = s.res "
            f"WHERE {b.equal('d.p' if token else 's.p', self.sort.paths)} "
            f"AND {self._behind(b, after, value)} AND {inside(b, 's.res', self.intervals)} "
            f"AND {self.age.condition(b, 'l.rid')}"
            f"{conditions(b, 's.res', (*self.plan.sets, *sets))} "
            f"ORDER BY {order} {direction}, s.res LIMIT {b.value(count)}"
        )
        return [Hit((key,), res, rid) for key, res, rid in self.view.run(statement, b)]

    def _column(self, b: Binder) -> tuple[str, str]:
        edge = 2 if self.sort.descending else 1
        table = self.sort.table
        own = ""
        if self.own is not None:
            # Where a resource has several values, another one may meet the criterion.
            several = "" if self.own.single else "edge <> 3 OR "
            own = f" AND ({several}{self.own.condition(b)})"
        return f"(SELECT * FROM {table} WHERE edge & {edge}{own}) AS s", f"s.{COLUMNS[table]}"

    @staticmethod
    def _token(b: Binder) -> tuple[str, str]:
        return "term AS d CROSS JOIN tok AS s ON s.k = d.k", "d.code || char(0) || d.system"

    def _behind(self, b: Binder, after: Place | None, value: str) -> str:
        """What comes after a place. First as a range of the index, then exactly."""
        if after is None:
            return "1"
        key, ahead = after.key[0], "<" if self.sort.descending else ">"
        if self.sort.table == "tok":
            bound = f"d.code {ahead}= {b.value(key.partition(chr(0))[0])}"
        else:
            bound = f"{value} {ahead}= {b.value(key)}"
        here = b.value(key)
        tie = f"{value} = {here} AND s.res > {b.value(after.res)}"
        return f"{bound} AND ({value} {ahead} {here} OR {tie})"


@dataclass(frozen=True)
class ByTime:
    """By `_lastUpdated`. Rids are in that order, but for those of one millisecond."""

    view: View
    plan: Plan
    intervals: Sequence[Interval]  # each of one type
    age: Age
    descending: bool

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        hits = [hit for one in self.intervals for hit in self._part(one, after, count, sets)]
        order = place_order((TimeKey(self.descending),))
        return sorted(hits, key=lambda hit: order(hit.place))[:count]

    def _part(
        self, interval: Interval, after: Place | None, count: int, sets: Sequence[Set]
    ) -> list[Hit]:
        """Of one type: whole milliseconds, until there are enough behind the place."""
        order = place_order((TimeKey(self.descending),))
        found: list[Hit] = []
        left = interval if after is None else self._from(interval, after.key[0])
        while len(found) < count and not left.empty:
            size = count - len(found) + 1
            batch = self._rows(left, size, sets)
            if len(batch) == size:
                last = batch[-1].key[0]
                whole = [hit for hit in batch if hit.key[0] != last]
                batch = whole or self._millisecond(interval, last, after, count, sets)
                if not batch:
                    left = self._beyond(interval, last)
                    continue
                left = self._beyond(interval, batch[-1].key[0])
            else:
                left = Interval(0, 0)
            found += [hit for hit in batch if after is None or order(hit.place) > order(after)]
        return found

    def _from(self, interval: Interval, ms: int) -> Interval:
        """Beginning with a millisecond."""
        if self.descending:
            return Interval(interval.low, last_before(self.view, interval, ms + 1))
        return Interval(last_before(self.view, interval, ms), interval.high)

    def _beyond(self, interval: Interval, ms: int) -> Interval:
        """Behind a millisecond."""
        return self._from(interval, ms - 1 if self.descending else ms + 1)

    def _millisecond(
        self, interval: Interval, ms: int, after: Place | None, count: int, sets: Sequence[Set]
    ) -> list[Hit]:
        """What was written in one, as far as it is wanted: a load writes thousands at once."""
        low, high = (last_before(self.view, interval, end) for end in (ms, ms + 1))
        b = self.view.binder()
        least = after.res if after is not None and after.key[0] == ms else 0
        statement = (
            f"SELECT l.res, l.rid FROM live AS l WHERE {within(b, 'l.rid', Interval(low, high))} "
            f"AND +l.res > {b.value(least)} AND {self.age.condition(b, 'l.rid')}"
            f"{conditions(b, 'l.res', (*self.plan.sets, *sets))} "
            f"ORDER BY +l.res LIMIT {b.value(count)}"
        )
        return [Hit((ms,), res, rid) for res, rid in self.view.run(statement, b)]

    def _rows(self, interval: Interval, count: int, sets: Sequence[Set]) -> list[Hit]:
        b = self.view.binder()
        statement = (
            "SELECT v.upd_ms, l.res, l.rid FROM live AS l CROSS JOIN version AS v ON v.rid = l.rid "
            f"WHERE {within(b, 'l.rid', interval)} AND {self.age.condition(b, 'l.rid')}"
            f"{conditions(b, 'l.res', (*self.plan.sets, *sets))} "
            f"ORDER BY l.rid {'DESC' if self.descending else 'ASC'} LIMIT {b.value(count)}"
        )
        return [Hit((ms,), res, rid) for ms, res, rid in self.view.run(statement, b)]


@dataclass(frozen=True)
class ById:
    """By `_id`."""

    view: View
    plan: Plan
    intervals: Sequence[Interval]  # each of one type
    age: Age
    descending: bool

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        order = place_order((IdKey(self.descending),))
        hits = [hit for one in self.intervals for hit in self._part(one, after, count, sets)]
        return sorted(hits, key=lambda hit: order(hit.place))[:count]

    def _part(
        self, interval: Interval, after: Place | None, count: int, sets: Sequence[Set]
    ) -> list[Hit]:
        b = self.view.binder()
        ahead, direction = ("<", "DESC") if self.descending else (">", "ASC")
        behind = "1"
        if after is not None:
            id, res = b.value(after.key[0]), b.value(after.res)
            behind = f"i.id {ahead}= {id} AND (i.id {ahead} {id} OR l.res > {res})"
        statement = (
            "SELECT i.id, l.res, l.rid FROM versions AS i CROSS JOIN live AS l ON l.rid = i.rid "
            f"WHERE i.type = {b.value(type_of(interval))} AND {behind} "
            f"AND {self.age.condition(b, 'l.rid')}"
            f"{conditions(b, 'l.res', (*self.plan.sets, *sets))} "
            f"ORDER BY i.id {direction} LIMIT {b.value(count)}"
        )
        return [Hit((id,), res, rid) for id, res, rid in self.view.run(statement, b)]


@dataclass(frozen=True)
class ByGroups:
    """By several keys: along the first one, and those that are equal there by their bodies. Many
    equal ones are better put in order by SQLite."""

    first: ByValue
    keys: tuple[AnyKey, ...]
    otherwise: "ByKeys"

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        if after is not None and after.key[0] is None:
            return self.otherwise.next(after, count, sets)
        found: list[Hit] = []
        for size in (2 * count + 1, self.first.view.limits.sorted_in_memory + 1):
            found = self._in_order(after, size, sets)
            if len(found) >= count:
                return found[:count]
        last = found[-1].place if found else after
        return found + self.otherwise.next(last, count - len(found), sets)

    def _in_order(self, after: Place | None, size: int, sets: Sequence[Set]) -> list[Hit]:
        """The first ones, without those whose equals may not all be among them."""
        view, order = self.first.view, place_order(self.keys)
        begin = None if after is None else Place(after.key[:1], 0)
        batch = self.first.next(begin, size, sets)
        if len(batch) == size:
            last = batch[-1].key
            batch = [hit for hit in batch if hit.key != last]
        hits = [keyed(hit, self.keys, view) for hit in batch]
        if after is not None:
            behind = order(after)
            hits = [hit for hit in hits if order(hit.place) > behind]
        return sorted(hits, key=lambda hit: order(hit.place))


@dataclass(frozen=True)
class ByKeys:
    """By any keys, those without a value included: all candidates are looked at."""

    view: View
    plan: Plan
    intervals: Sequence[Interval]
    age: Age
    keys: tuple[AnyKey, ...]

    def next(self, after: Place | None, count: int, sets: Sequence[Set]) -> list[Hit]:
        """See Walk."""
        b = self.view.binder()
        tables, joins, values = self._values(b)
        orders = [
            f"{value} IS NULL, {value} {'DESC' if key.descending else 'ASC'}"
            for value, key in zip(values, self.keys, strict=True)
        ]
        statement = (
            f"{tables}SELECT l.res, l.rid, {', '.join(values)} FROM live AS l "
            f"CROSS JOIN version AS v ON v.rid = l.rid{joins} "
            f"WHERE {inside(b, 'l.res', self.intervals)} AND {self.age.condition(b, 'l.rid')} "
            f"AND {self._behind(b, after, values)}"
            f"{conditions(b, 'l.res', (*self.plan.sets, *sets))} "
            f"ORDER BY {', '.join(orders)}, l.res LIMIT {b.value(count)}"
        )
        return [Hit(tuple(key), res, rid) for res, rid, *key in self.view.run(statement, b)]

    def _values(self, b: Binder) -> tuple[str, str, list[str]]:
        """Tables of the keys' values by resource, their joins, and the values' names."""
        tables, joins, values = [], "", []
        for number, key in enumerate(self.keys):
            match key:
                case TimeKey():
                    values.append("v.upd_ms")
                case IdKey():
                    values.append("v.id")
                case ValueKey():
                    name = f"key{number}"
                    tables.append(f"{name} AS MATERIALIZED ({self._extremes(b, key)})")
                    joins += f" LEFT JOIN {name} ON {name}.res = l.res"
                    values.append(f"{name}.value")
        return f"WITH {', '.join(tables)} " if tables else "", joins, values

    @staticmethod
    def _extremes(b: Binder, key: ValueKey) -> str:
        if not key.paths:
            return "SELECT 0 AS res, NULL AS value WHERE 0"
        extreme = "max" if key.descending else "min"
        if key.table == "tok":
            return (
                f"SELECT s.res, {extreme}(d.code || char(0) || d.system) AS value "
                "FROM term AS d CROSS JOIN tok AS s ON s.k = d.k "
                f"WHERE {b.equal('d.p', key.paths)} GROUP BY s.res"
            )
        return (
            f"SELECT res, {extreme}({COLUMNS[key.table]}) AS value FROM {key.table} "
            f"WHERE {b.equal('p', key.paths)} GROUP BY res"
        )

    def _behind(self, b: Binder, after: Place | None, values: Sequence[str]) -> str:
        """What comes after a place: greater in the first key that differs."""
        if after is None:
            return "1"
        ways, equal = [], ""
        for value, key, here in zip(values, self.keys, after.key, strict=True):
            if here is None:
                equal += f"{value} IS NULL AND "
                continue
            ahead, bound = "<" if key.descending else ">", b.value(here)
            ways.append(f"{equal}({value} {ahead} {bound} OR {value} IS NULL)")
            equal += f"{value} = {bound} AND "
        ways.append(f"{equal}l.res > {b.value(after.res)}")
        return f"({' OR '.join(ways)})"


def type_of(interval: Interval) -> int:
    """The number of the one type that an interval holds."""
    return interval.high >> SEQ_BITS
