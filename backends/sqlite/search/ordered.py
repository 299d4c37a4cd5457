"""Ordered values: dates, numbers, quantities and strings, compared by ranges of an index.

An index over (path, value) cannot be asked about one resource. It is read by ranges, or the
resource's body is asked. So every comparison is written twice, as ranges and as a condition on
the rows of a body.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backends.sqlite.search.binding import Binder
from backends.sqlite.search.sets import Collected
from engine.fhir.search.rows import Rows
from engine.fhir.search.tree import Prefix

# Dates wider than this have an index of their own (dat_wide), by their end; so what ends after a
# moment is found without reading all that began before. Months fit.
WIDE_MS = 32 * 86_400_000
_WIDE = f"hi - lo > {WIDE_MS}"

_LAST = "\U0010ffff"


Row = tuple[Any, ...]  # of a body: the path, the values, the edge


class Test(Protocol):
    """One comparison with the values of a row."""

    def ranges(self, b: Binder) -> list[str]:
        """Conditions on the columns, of which one must hold, and never two. Each is a range of
        the index."""
        ...

    def holds(self, row: Row) -> bool:
        """The same for a row of a body: (path, values..., edge)."""
        ...


@dataclass(frozen=True)
class DateTest:
    """Compares ranges of time with [a, b)."""

    prefix: Prefix
    a: int
    b: int

    def ranges(self, b: Binder) -> list[str]:
        """See Test."""
        first, end = b.value(self.a), b.value(self.b)
        match self.prefix:
            case Prefix.EQ:
                return [f"lo >= {first} AND lo < {end} AND hi <= {end}"]
            case Prefix.NE:
                return [f"lo < {first}", f"lo >= {first} AND hi > {end}"]
            case Prefix.GT:
                near = b.value(self.b - WIDE_MS)
                return [f"lo >= {near} AND hi > {end}", f"{_WIDE} AND hi > {end} AND lo < {near}"]
            case Prefix.GE:
                near = b.value(self.a - WIDE_MS)
                return [
                    f"lo >= {first}",
                    f"lo >= {near} AND lo < {first} AND hi > {end}",
                    f"{_WIDE} AND hi > {end} AND lo < {near}",
                ]
            case Prefix.LT:
                return [f"lo < {first}"]
            case Prefix.LE:
                return [f"lo < {end} AND (lo < {first} OR hi <= {end})"]
            case Prefix.SA:
                return [f"lo >= {end}"]
            case Prefix.EB:
                return [f"lo < {first} AND hi <= {first}"]
            case Prefix.AP:
                near = b.value(self.a - WIDE_MS)
                return [
                    f"lo >= {near} AND lo < {end} AND hi > {first}",
                    f"{_WIDE} AND hi > {first} AND lo < {near}",
                ]

    def holds(self, row: Row) -> bool:
        """See Test (search.html#prefix)."""
        lo: int = row[1]
        hi: int = row[2]
        match self.prefix:
            case Prefix.EQ:
                return self.a <= lo and hi <= self.b
            case Prefix.NE:
                return lo < self.a or hi > self.b
            case Prefix.GT:
                return hi > self.b
            case Prefix.GE:
                return lo >= self.a or hi > self.b
            case Prefix.LT:
                return lo < self.a
            case Prefix.LE:
                return lo < self.a or hi <= self.b
            case Prefix.SA:
                return lo >= self.b
            case Prefix.EB:
                return hi <= self.a
            case Prefix.AP:
                return lo < self.b and hi > self.a


@dataclass(frozen=True)
class NumberTest:
    """Compares numbers: with the range [lo, hi) that the precision implies, or exactly."""

    prefix: Prefix
    value: float
    lo: float
    hi: float

    def ranges(self, b: Binder) -> list[str]:
        """See Test."""
        match self.prefix:
            case Prefix.EQ | Prefix.AP:
                return [f"value >= {b.value(self.lo)} AND value < {b.value(self.hi)}"]
            case Prefix.NE:
                return [f"value < {b.value(self.lo)}", f"value >= {b.value(self.hi)}"]
            case Prefix.GT | Prefix.SA:
                return [f"value > {b.value(self.value)}"]
            case Prefix.GE:
                return [f"value >= {b.value(self.value)}"]
            case Prefix.LT | Prefix.EB:
                return [f"value < {b.value(self.value)}"]
            case Prefix.LE:
                return [f"value <= {b.value(self.value)}"]

    def holds(self, row: Row) -> bool:
        """See Test."""
        value: float = row[-2]
        match self.prefix:
            case Prefix.EQ | Prefix.AP:
                return self.lo <= value < self.hi
            case Prefix.NE:
                return not self.lo <= value < self.hi
            case Prefix.GT | Prefix.SA:
                return value > self.value
            case Prefix.GE:
                return value >= self.value
            case Prefix.LT | Prefix.EB:
                return value < self.value
            case Prefix.LE:
                return value <= self.value


@dataclass(frozen=True)
class QuantityTest:
    """Compares quantities of some units, or of any."""

    number: NumberTest
    keys: tuple[int, ...]  # paths, or keys of composites
    units: tuple[int, ...] | None  # keys of the dictionary; None: any

    def ranges(self, b: Binder) -> list[str]:
        """See Test."""
        if self.units is None:
            # Not without `u`: it stands before the value in the index.
            units = f"u IN (SELECT d.u FROM unit AS d WHERE {b.equal('d.p', self.keys)})"
        elif not self.units:
            return []
        else:
            units = b.equal("u", self.units)
        return [f"{units} AND {condition}" for condition in self.number.ranges(b)]

    def holds(self, row: Row) -> bool:
        """See Test."""
        return (self.units is None or row[1] in self.units) and self.number.holds(row)


@dataclass(frozen=True)
class StartTest:
    """Strings that start with a text, both normalized."""

    text: str

    def ranges(self, b: Binder) -> list[str]:
        """See Test."""
        low, high = prefix_range(self.text)
        return [f"value >= {b.value(low)} AND value < {b.value(high)}"]

    def holds(self, row: Row) -> bool:
        """See Test."""
        return bool(row[1].startswith(self.text))


@dataclass(frozen=True)
class ContainsTest:
    """Strings that hold a text somewhere, both normalized."""

    text: str

    def ranges(self, b: Binder) -> list[str]:
        """See Test."""
        return [f"instr(value, {b.value(self.text)})"]

    def holds(self, row: Row) -> bool:
        """See Test."""
        return self.text in row[1]


@dataclass(frozen=True)
class ExactTest:
    """Strings as they are written. The index holds the text itself if normalizing changed it."""

    text: str  # normalized
    written: str

    def ranges(self, b: Binder) -> list[str]:
        """See Test."""
        exact = "" if self.written == self.text else self.written
        return [f"value = {b.value(self.text)} AND exact = {b.value(exact)}"]

    def holds(self, row: Row) -> bool:
        """See Test."""
        return bool(row[2] == self.written)


def prefix_range(prefix: str) -> tuple[str, str]:
    """All texts with this prefix lie in [low, high), by code points."""
    stem = prefix.rstrip(_LAST)
    if not stem:
        return prefix, _LAST * 1001  # longer than any indexed text
    following = ord(stem[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:
        following = 0xE000  # no text holds half a pair
    return prefix, stem[:-1] + chr(following)


# Where the rows of a table stand among those of a body.
_IN_BODY = {"str": "strings", "dat": "dates", "num": "numbers", "qty": "quantities"}


def body_rows(rows: Rows, table: str) -> Sequence[Row]:
    """What a body puts into one of the ordered tables: (p, values..., edge)."""
    found: Sequence[Row] = getattr(rows, _IN_BODY[table])
    return found


@dataclass(frozen=True)
class Ordered(Collected):
    """Those with a value for which one test of each group holds."""

    table: str  # str, dat, num or qty
    keys: tuple[int, ...]  # paths, or keys of composites
    groups: tuple[tuple[Test, ...], ...]
    single: bool = False  # no resource has two values there

    @property
    def once(self) -> bool:
        """Whether a scan gives each resource once."""
        return self.single and len(self.groups[0]) == 1

    @property
    def splits(self) -> bool:
        """Whether `edge` tells that a row is its resource's only one, and it meets one range."""
        return len(self.keys) == 1 and len(self.groups[0]) == 1

    def condition(self, b: Binder) -> str:
        """On the columns of one row, its path left aside."""
        return " AND ".join(_condition(b, tests) for tests in self.groups)

    def scan(self, b: Binder) -> str:
        """See Set. A range for each way the first group can hold; the others narrow it."""
        return self.rows(b, "")

    def rows(self, b: Binder, also: str) -> str:
        """A scan of the rows for which another condition holds as well."""
        first, *others = self.groups
        keys = b.equal("p", self.keys)
        rest = also + "".join(f" AND {_condition(b, tests)}" for tests in others)
        ranges = [condition for test in first for condition in test.ranges(b)]
        if not ranges:
            return f"SELECT res FROM {self.table} WHERE 0"
        return " UNION ALL ".join(
            f"SELECT res FROM {self.table} WHERE {keys} AND {condition}{rest}"
            for condition in ranges
        )

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return any(
            row[0] in self.keys
            and all(any(test.holds(row) for test in tests) for tests in self.groups)
            for row in body_rows(rows, self.table)
        )


def _condition(b: Binder, tests: Sequence[Test]) -> str:
    """One of the tests holds. A single range is left bare, so that it narrows the scan."""
    conditions = [condition for test in tests for condition in test.ranges(b)]
    if len(conditions) == 1:
        return conditions[0]
    # The sign keeps SQLite from looking each of them up, which would lose the order.
    return "+(" + (" OR ".join(f"({condition})" for condition in conditions) or "0") + ")"


@dataclass(frozen=True)
class Valued(Collected):
    """Those with any value in one of the ordered tables."""

    table: str
    keys: tuple[int, ...]

    def scan(self, b: Binder) -> str:
        """See Set. The least value alone: one row of each resource."""
        return f"SELECT res FROM {self.table} WHERE {b.equal('p', self.keys)} AND edge & 1"

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return any(row[0] in self.keys for row in body_rows(rows, self.table))
