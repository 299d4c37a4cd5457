"""Sets of resources, as a search puts them together. Each can be written as SQL in two ways.

`scan` is a SELECT of all `res` that are in the set, some perhaps twice. `holds` is a condition on
one resource; it is cheap where `light`, and otherwise SQLite first collects the whole set. Some
can also be asked whether a resource is in them by what its body says (`said`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from backends.sqlite.search.binding import Binder
from backends.sqlite.search.view import Interval
from engine.fhir.search.rows import Rows

# Keys that one resource is asked for one after the other; more of them are collected.
PROBES_MAX = 64


class Set(Protocol):
    """A set of live resources."""

    @property
    def light(self) -> bool:
        """Whether `holds` costs little for one resource."""
        ...

    @property
    def scannable(self) -> bool:
        """Whether there is a `scan`."""
        ...

    @property
    def by_body(self) -> bool:
        """Whether `said` can tell."""
        ...

    def scan(self, b: Binder) -> str:
        """A SELECT of `res`, as it may stand in brackets."""
        ...

    def holds(self, b: Binder, res: str) -> str:
        """Whether `res`, an SQL expression, is in the set."""
        ...

    def said(self, rows: Rows) -> bool:
        """Whether the resource that says this is in the set."""
        ...


def within(b: Binder, res: str, interval: Interval) -> str:
    """A condition: `res` lies in the interval."""
    return f"{res} > {b.value(interval.low)} AND {res} <= {b.value(interval.high)}"


class Collected:
    """Of sets that cannot be asked about one resource: SQLite collects them once a statement."""

    light = False
    scannable = True
    by_body = True

    def scan(self, b: Binder) -> str:
        raise NotImplementedError

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        return f"{res} IN ({self.scan(b)})"


@dataclass(frozen=True)
class Explicit:
    """These resources. Ascending."""

    numbers: tuple[int, ...]

    light = True
    scannable = True
    by_body = False

    def scan(self, b: Binder) -> str:
        """See Set."""
        if not self.numbers:
            return "SELECT res FROM live WHERE 0"
        return f"SELECT value AS res FROM {b.table(self.numbers)}"

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        return b.equal(res, self.numbers) if self.numbers else "0"

    def said(self, rows: Rows) -> bool:
        raise NotImplementedError


NOTHING = Explicit(())


@dataclass(frozen=True)
class Everything:
    """All live resources."""

    light = True
    scannable = True
    by_body = True

    def scan(self, b: Binder) -> str:
        """See Set."""
        return "SELECT res FROM live"

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        return "1"

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return True


@dataclass(frozen=True)
class Postings:
    """Those with one of these tokens."""

    keys: tuple[int, ...]

    scannable = True
    by_body = True

    @property
    def light(self) -> bool:
        return len(self.keys) <= PROBES_MAX

    def scan(self, b: Binder) -> str:
        """See Set. In order of res if there is one key."""
        return f"SELECT res FROM tok WHERE {b.equal('k', self.keys)}"

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        if not self.light:
            return f"{res} IN ({self.scan(b)})"
        t = b.alias()
        return (
            f"EXISTS (SELECT 1 FROM tok AS {t} "
            f"WHERE {b.equal(f'{t}.k', self.keys)} AND {t}.res = {res})"
        )

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return not self._all.isdisjoint(rows.tokens)

    @cached_property
    def _all(self) -> frozenset[int]:
        return frozenset(self.keys)


@dataclass(frozen=True)
class Dictionary(Collected):
    """Those with a token of these paths that the dictionary knows by this system, by a code in
    this range, or at all."""

    paths: tuple[int, ...]
    system: str | None = None
    codes: tuple[str, str] | None = None  # low <= code < high

    def scan(self, b: Binder) -> str:
        """See Set."""
        d, t = b.alias(), b.alias()
        conditions = [b.equal(f"{d}.p", self.paths)]
        if self.system is not None:
            conditions.append(f"{d}.system = {b.value(self.system)}")
        if self.codes is not None:
            low, high = self.codes
            conditions.append(f"{d}.code >= {b.value(low)} AND {d}.code < {b.value(high)}")
        return (
            f"SELECT {t}.res AS res FROM term AS {d} CROSS JOIN tok AS {t} ON {t}.k = {d}.k "
            f"WHERE {' AND '.join(conditions)}"
        )

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return any(
            term.path in self.paths
            and (self.system is None or term.system == self.system)
            and (self.codes is None or self.codes[0] <= term.code < self.codes[1])
            for term in rows.terms
        )


@dataclass(frozen=True)
class Changed:
    """Those whose current version lies in one of these ranges of rids: first < rid <= last."""

    ranges: tuple[tuple[int, int], ...]

    light = True
    scannable = True
    by_body = False

    def scan(self, b: Binder) -> str:
        """See Set."""
        arms = (f"SELECT res FROM live WHERE {self._range(b, 'rid', r)}" for r in self.ranges)
        return " UNION ALL ".join(arms) if self.ranges else "SELECT res FROM live WHERE 0"

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        t = b.alias()
        ranges = " OR ".join(self._range(b, f"{t}.rid", r) for r in self.ranges) or "0"
        return f"EXISTS (SELECT 1 FROM live AS {t} WHERE {t}.res = {res} AND ({ranges}))"

    def said(self, rows: Rows) -> bool:
        raise NotImplementedError

    @staticmethod
    def _range(b: Binder, rid: str, ends: tuple[int, int]) -> str:
        return f"{rid} > {b.value(ends[0])} AND {rid} <= {b.value(ends[1])}"


@dataclass(frozen=True)
class Not:
    """Those that are not in another set."""

    inner: Set

    scannable = False

    @property
    def light(self) -> bool:
        return self.inner.light

    @property
    def by_body(self) -> bool:
        return self.inner.by_body

    def scan(self, b: Binder) -> str:
        raise NotImplementedError

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        return f"NOT ({self.inner.holds(b, res)})"

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return not self.inner.said(rows)


@dataclass(frozen=True)
class AnyOf:
    """Those in one of several sets."""

    sets: tuple[Set, ...]

    @property
    def light(self) -> bool:
        return all(one.light for one in self.sets)

    @property
    def scannable(self) -> bool:
        return all(one.scannable for one in self.sets)

    @property
    def by_body(self) -> bool:
        return all(one.by_body for one in self.sets)

    def scan(self, b: Binder) -> str:
        """See Set."""
        return " UNION ALL ".join(one.scan(b) for one in self.sets)

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        return f"({' OR '.join(one.holds(b, res) for one in self.sets)})"

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return any(one.said(rows) for one in self.sets)


def any_of(sets: Sequence[Set]) -> Set:
    """The union of sets, in the simplest form."""
    keys = tuple(key for one in sets if isinstance(one, Postings) for key in one.keys)
    numbers = {number for one in sets if isinstance(one, Explicit) for number in one.numbers}
    rest: list[Set] = [one for one in sets if not isinstance(one, Postings | Explicit)]
    if keys:
        rest.append(Postings(tuple(dict.fromkeys(keys))))
    if numbers:
        rest.append(Explicit(tuple(sorted(numbers))))
    if not rest:
        return NOTHING
    return rest[0] if len(rest) == 1 else AnyOf(tuple(rest))
