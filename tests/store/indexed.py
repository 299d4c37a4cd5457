"""What the index of a store must hold, worked out from its versions alone."""

from pathlib import Path
from typing import Any

from backends.sqlite.connection import open_connection
from backends.sqlite.types import DELETED
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.keys import Keys

TABLES = ("tok", "ref", "fwd", "str", "dat", "num", "qty")


class Index:
    """The rows of a file, as sets, and what they should be."""

    def __init__(self, path: Path, search: SearchDefinitions) -> None:
        self._connection = open_connection(path)
        self._search = search
        try:
            self.live = self._all("SELECT res, rid, tkey FROM live")
            self.defs = {defs for (defs,) in self._all("SELECT defs FROM live")}
            self.rows = {table: self._all(f"SELECT * FROM {table}") for table in TABLES}
            self.keys = {k for (k,) in self._all("SELECT k FROM term UNION SELECT u FROM unit")}
            self.facts = self._connection.execute("SELECT defs, indexed FROM meta").get
            self._expect()
        finally:
            self._connection.close()

    def _all(self, query: str) -> set[Any]:
        return set(self._connection.execute(query))

    def _expect(self) -> None:
        secret: Any = self._connection.execute("SELECT secret FROM meta").get
        keys = Keys(secret)
        self.expected_live: set[Any] = set()
        self.expected: dict[str, set[Any]] = {table: set() for table in TABLES}
        self.expected_keys: set[int] = set()
        for name, id, rid, body in self._current():
            first: Any = self._connection.execute(
                "SELECT min(rid) FROM version WHERE id = ? AND rid >> 40 = ?", (id, rid >> 40)
            ).get
            self.expected_live.add((first, rid, keys.target(name, id)))
            self._expect_rows(first, name, body)

    def _current(self) -> list[Any]:
        return self._connection.execute(
            "SELECT name, id, rid, body FROM version JOIN resource_type ON type_id = rid >> 40 "
            f"WHERE sup = 1 << 62 AND NOT flags & {DELETED}"
        ).fetchall()

    def _expect_rows(self, res: int, type: str, body: bytes) -> None:
        rows, expected = self._search.rows(type, body), self.expected
        expected["tok"] |= {(k, res) for k in rows.tokens}
        expected["ref"] |= {(*key, res) for key in rows.references}
        expected["fwd"] |= {(res, *key) for key in rows.references}
        expected["str"] |= {
            (p, value, res, "" if value == exact else exact, edge)
            for p, value, exact, edge in rows.strings
        }
        expected["dat"] |= {(p, lo, hi, res, edge) for p, lo, hi, edge in rows.dates}
        expected["num"] |= {(p, value, res, edge) for p, value, edge in rows.numbers}
        expected["qty"] |= {(p, u, value, res, edge) for p, u, value, edge in rows.quantities}
        self.expected_keys |= {term.k for term in rows.terms} | {unit.u for unit in rows.units}


def check_index(path: Path, search: SearchDefinitions) -> Index:
    """The index says of every live resource what it says itself, and nothing else."""
    index = Index(path, search)
    assert index.live == index.expected_live
    for table in TABLES:
        assert index.rows[table] == index.expected[table], table
    assert index.keys >= index.expected_keys  # a dictionary may know more than is in use
    return index
