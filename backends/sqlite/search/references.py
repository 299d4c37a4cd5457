"""Sets of resources by what they point to, and by what points to them.

`ref` knows the sources of a target, `fwd` the targets of a source, `live` the hash by which
references mean a resource.
"""

from dataclasses import dataclass
from functools import cached_property

from backends.sqlite.search.binding import SPELLED_MAX, Binder
from backends.sqlite.search.sets import Set, within
from backends.sqlite.search.view import Interval
from engine.fhir.search.rows import Rows


@dataclass(frozen=True)
class Pointers:
    """Those that point by one of these paths to one of these targets."""

    paths: tuple[int, ...]
    targets: tuple[int, ...]

    light = True
    scannable = True
    by_body = True

    def scan(self, b: Binder) -> str:
        """See Set. In order of res if there is one path and one target."""
        paths, targets = b.equal("p", self.paths), b.equal("target", self.targets)
        return f"SELECT res FROM ref WHERE {paths} AND {targets}"

    def holds(self, b: Binder, res: str) -> str:
        """See Set. A Group may point to 100,000; most resources point to few."""
        t = b.alias()
        # The sign keeps SQLite from looking up each of many targets.
        column = f"{t}.target" if len(self.targets) <= SPELLED_MAX else f"+{t}.target"
        return (
            f"EXISTS (SELECT 1 FROM fwd AS {t} WHERE {t}.res = {res} "
            f"AND {b.equal(f'{t}.p', self.paths)} AND {b.equal(column, self.targets)})"
        )

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return any(p in self.paths and target in self._all for p, target in rows.references)

    @cached_property
    def _all(self) -> frozenset[int]:
        return frozenset(self.targets)


@dataclass(frozen=True)
class Pointed:
    """Those that one resource points to by one of these paths."""

    res: int
    paths: tuple[int, ...]

    light = True
    scannable = True
    by_body = False

    def scan(self, b: Binder) -> str:
        """See Set."""
        f, t = b.alias(), b.alias()
        return (
            f"SELECT {t}.res AS res FROM fwd AS {f} CROSS JOIN live AS {t} "
            f"ON {t}.tkey = {f}.target "
            f"WHERE {f}.res = {b.value(self.res)} AND {b.equal(f'{f}.p', self.paths)}"
        )

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        f, t = b.alias(), b.alias()
        return (
            f"EXISTS (SELECT 1 FROM live AS {t} CROSS JOIN fwd AS {f} "
            f"WHERE {t}.res = {res} AND {f}.res = {b.value(self.res)} "
            f"AND {b.equal(f'{f}.p', self.paths)} AND {f}.target = {t}.tkey)"
        )

    def said(self, rows: Rows) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class Pointing:
    """Those that point by one of these paths to anything."""

    paths: tuple[int, ...]

    light = True
    scannable = True
    by_body = True

    def scan(self, b: Binder) -> str:
        """See Set."""
        return f"SELECT res FROM ref WHERE {b.equal('p', self.paths)}"

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        t = b.alias()
        return (
            f"EXISTS (SELECT 1 FROM fwd AS {t} "
            f"WHERE {t}.res = {res} AND {b.equal(f'{t}.p', self.paths)})"
        )

    def said(self, rows: Rows) -> bool:
        """See Set."""
        return any(p in self.paths for p, _ in rows.references)


@dataclass(frozen=True)
class Joined:
    """What is chosen by the resources of another set, and these paths between the two."""

    paths: tuple[int, ...]
    inner: Set
    interval: Interval  # of the inner set's resources

    light = True
    by_body = False

    @property
    def scannable(self) -> bool:
        return self.inner.scannable

    def said(self, rows: Rows) -> bool:
        raise NotImplementedError


class Forward(Joined):
    """Those that point by one of these paths to a resource of another set: a chain."""

    def scan(self, b: Binder) -> str:
        """See Set."""
        i, t, r = b.alias(), b.alias(), b.alias()
        return (
            f"SELECT {r}.res AS res FROM ({self.inner.scan(b)}) AS {i} "
            f"CROSS JOIN live AS {t} ON {t}.res = {i}.res "
            f"CROSS JOIN ref AS {r} ON {r}.target = {t}.tkey AND {b.equal(f'{r}.p', self.paths)} "
            f"WHERE {within(b, f'{i}.res', self.interval)}"
        )

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        f, t = b.alias(), b.alias()
        return (
            f"EXISTS (SELECT 1 FROM fwd AS {f} CROSS JOIN live AS {t} ON {t}.tkey = {f}.target "
            f"WHERE {f}.res = {res} AND {b.equal(f'{f}.p', self.paths)} "
            f"AND {within(b, f'+{t}.res', self.interval)} AND {self.inner.holds(b, f'{t}.res')})"
        )


class Backward(Joined):
    """Those that a resource of another set points to by one of these paths: `_has`."""

    def scan(self, b: Binder) -> str:
        """See Set."""
        i, t, f = b.alias(), b.alias(), b.alias()
        return (
            f"SELECT {t}.res AS res FROM ({self.inner.scan(b)}) AS {i} "
            f"CROSS JOIN fwd AS {f} ON {f}.res = {i}.res AND {b.equal(f'{f}.p', self.paths)} "
            f"CROSS JOIN live AS {t} ON {t}.tkey = {f}.target "
            f"WHERE {within(b, f'{i}.res', self.interval)}"
        )

    def holds(self, b: Binder, res: str) -> str:
        """See Set."""
        t, r = b.alias(), b.alias()
        return (
            f"EXISTS (SELECT 1 FROM live AS {t} CROSS JOIN ref AS {r} "
            f"ON {r}.target = {t}.tkey AND {b.equal(f'{r}.p', self.paths)} "
            f"WHERE {t}.res = {res} AND {within(b, f'{r}.res', self.interval)} "
            f"AND {self.inner.holds(b, f'{r}.res')})"
        )
