"""View: one state of a tenant's store, as a search looks at it. Lives for one read transaction.

A resource is meant by its number `res`, the rid of its first version: type_id << 40 | seq.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from backends.sqlite.search.binding import Binder
from backends.sqlite.types import SEQ_BITS
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.keys import Keys
from engine.fhir.search.rows import Rows
from engine.fhir.search.tree import Parameter
from engine.model import Version

SEQ_MASK = (1 << SEQ_BITS) - 1
RES_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class Interval:
    """Resources of one type, or of all: low < res <= high."""

    low: int = 0
    high: int = RES_MAX

    def after(self, res: int) -> "Interval":
        """What is left of it above this one."""
        return Interval(max(self.low, res), self.high)

    @property
    def empty(self) -> bool:
        return self.low >= self.high


EVERYTHING = Interval()


def interval_of(type_id: int) -> Interval:
    """Numbers of all resources of a type."""
    return Interval(type_id << SEQ_BITS, type_id << SEQ_BITS | SEQ_MASK)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where one way of finding gives way to another. No answer depends on them, only its time."""

    probed: int = 64  # tokens of the dictionary that a resource is asked for one by one
    few: int = 64  # resources whose bodies are read rather than anything else counted
    counted: tuple[int, ...] = (2_000, 50_000, 1_000_000)  # of a posting, until one is smallest
    fetched: int = 20_000  # of a set that becomes a list; counting them takes half a millisecond
    joined: int = 100_000  # rows of a join
    asked: int = 50  # resources, to see how frequent it is that they are in a set
    looked_into: int = 1_000  # bodies, before a set is collected: each takes 20 microseconds
    sorted_in_memory: int = 1_000  # candidates, by what their bodies say


LIMITS: Final = Limits()


@dataclass
class View:
    """A connection inside a transaction, and what names mean in it."""

    connection: apsw.Connection
    search: SearchDefinitions
    keys: Keys
    seq: int  # of the state
    type_ids: dict[str, int]
    types: dict[int, str]
    limits: Limits = LIMITS
    _paths: dict[str, int | None] = field(default_factory=dict)

    @staticmethod
    def binder() -> Binder:
        """Of a new statement."""
        return Binder()

    def run(self, statement: str, binder: Binder) -> list[Any]:
        """All rows of a statement."""
        rows: list[Any] = self.connection.execute(statement, binder.values).fetchall()
        return rows

    def paths(self, parameter: Parameter, suffix: str = "") -> tuple[int, ...]:
        """Numbers of a parameter's paths. One without a number has no rows."""
        numbers = (self.path(path.name + suffix) for path in parameter.paths)
        return tuple(number for number in numbers if number is not None)

    def reference_paths(self, parameter: Parameter, type: str) -> tuple[int, ...]:
        """Those paths of a parameter where references to resources of a type may stand."""
        numbers = (self.path(path.name) for path in parameter.paths if path.holds(type))
        return tuple(number for number in numbers if number is not None)

    def path(self, name: str) -> int | None:
        """The number of a path, None if nothing was indexed there."""
        if name not in self._paths:
            row: Any = self.connection.execute(
                "SELECT p FROM path WHERE name = ?", (name,)
            ).fetchone()
            self._paths[name] = None if row is None else row[0]
        return self._paths[name]

    def interval(self, type: str) -> Interval:
        """Where resources of a type lie; empty if the store never held one. "": all."""
        if not type:
            return EVERYTHING
        type_id = self.type_ids.get(type)
        return Interval(0, 0) if type_id is None else interval_of(type_id)

    def intervals(self, types: Sequence[str]) -> tuple[Interval, ...]:
        """Where resources of these types lie, in ascending order; () means all."""
        if not types:
            return (EVERYTHING,)
        found = (self.interval(type) for type in dict.fromkeys(types))
        return tuple(sorted((i for i in found if not i.empty), key=lambda i: i.low))

    def single_intervals(self, types: Sequence[str]) -> tuple[Interval, ...]:
        """As intervals, but each of one type: of all that the store ever held for ()."""
        names = types or tuple(self.type_ids)
        return self.intervals(names) if names else ()

    def type_of(self, res: int) -> str:
        """The type of a resource by its number."""
        return self.types[res >> SEQ_BITS]

    def version(self, rid: int) -> Version:
        """One live version with its body."""
        row: Any = self.connection.execute(
            "SELECT id, ver, upd_ms, body FROM version WHERE rid = ?", (rid,)
        ).fetchone()
        id, ver, upd_ms, body = row
        return Version(self.types[rid >> SEQ_BITS], id, ver, upd_ms, body)

    def rows(self, version: Version) -> Rows:
        """What the body of a live version puts into the index."""
        assert version.body is not None
        return self.search.rows(version.type, version.body)


def open_view(
    connection: apsw.Connection, search: SearchDefinitions, limits: Limits = LIMITS
) -> View:
    """Look at what the connection's transaction sees."""
    secret, seq = connection.execute("SELECT secret, seq FROM meta").get
    types: Iterable[Any] = connection.execute("SELECT name, type_id FROM resource_type").fetchall()
    type_ids = dict(types)
    return View(
        connection,
        search,
        Keys(bytes(secret)),
        seq,
        type_ids,
        {number: name for name, number in type_ids.items()},
        limits,
    )
