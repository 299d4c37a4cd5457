"""What matched at an earlier state of the store: for exports with filters.

Index rows say what is true now. Resources that changed since are taken apart: what they said then
is extracted into tables of the connection's memory, and views under the names of the index put
both together, so that the statements of a search see the index as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import apsw

from backends.sqlite.index import NO_ROWS, KnownKeys, change_rows
from backends.sqlite.search.criteria import criteria_sets
from backends.sqlite.search.matches import all_of
from backends.sqlite.search.plan import make_plan
from backends.sqlite.search.view import SEQ_MASK, open_view
from backends.sqlite.types import DELETED, SEQ_BITS
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.tree import Query

# Tables of the index, with the columns that a search looks at.
_TABLES: Final = {
    "live": "res INTEGER PRIMARY KEY, rid INTEGER, tkey INTEGER",
    "tok": "k INTEGER, res INTEGER, PRIMARY KEY (k, res)",
    "ref": "p INTEGER, target INTEGER, res INTEGER, PRIMARY KEY (p, target, res)",
    "fwd": "res INTEGER, p INTEGER, target INTEGER, PRIMARY KEY (res, p, target)",
    "str": "p INTEGER, value TEXT, res INTEGER, exact TEXT, edge INTEGER, "
    "PRIMARY KEY (p, value, res, exact)",
    "dat": "p INTEGER, lo INTEGER, hi INTEGER, res INTEGER, edge INTEGER, "
    "PRIMARY KEY (p, lo, hi, res)",
    "num": "p INTEGER, value REAL, res INTEGER, edge INTEGER, PRIMARY KEY (p, value, res)",
    "qty": "p INTEGER, u INTEGER, value REAL, res INTEGER, edge INTEGER, "
    "PRIMARY KEY (p, u, value, res)",
}
_COLUMNS: Final = {
    "live": "res, rid, tkey",
    "tok": "k, res",
    "ref": "p, target, res",
    "fwd": "res, p, target",
    "str": "p, value, res, exact, edge",
    "dat": "p, lo, hi, res, edge",
    "num": "p, value, res, edge",
    "qty": "p, u, value, res, edge",
}
# Resources of a type with a version after a state.
_CHANGED = """
INSERT OR IGNORE INTO temp.changed (res, type, id)
SELECT coalesce(i.res, i.rid), i.type, i.id
FROM version AS v CROSS JOIN versions AS i
    ON i.type = v.rid >> 40 AND i.id = v.id AND i.ver = v.ver
WHERE v.rid > ? AND v.rid <= ?
"""
# What they were at that state; a deletion, or nothing yet, is left out.
_THEN = """
SELECT c.res, c.type, c.id, v.rid, v.body
FROM temp.changed AS c CROSS JOIN version AS v ON v.rid = (
    SELECT i.rid FROM versions AS i
    WHERE i.type = c.type AND i.id = c.id AND i.rid <= c.type << 40 | ?
    ORDER BY i.ver DESC LIMIT 1)
WHERE NOT v.flags & ?
"""


def select_at(
    connection: apsw.Connection,
    query: Query,
    search: SearchDefinitions,
    *,
    seq: int,
    job: str,
) -> int:
    """Keep what matched at the state `seq` in `selection` under `job`, by rid. Returns how many.

    Inside a write transaction; order and includes of the query are left aside. The versions of
    that state must still be there: a pin sees to that. What changed since takes memory.
    """
    with _index_of(connection, search, seq):
        view = replace(open_view(connection, search), seq=seq)
        intervals = view.intervals(query.types)
        plan = make_plan(view, criteria_sets(view, query.criteria, query.types), intervals)
        before = connection.total_changes()
        for interval in intervals:
            b = view.binder()
            name = b.value(job)
            view.run(
                f"INSERT OR IGNORE INTO selection (job, rid) SELECT {name}, l.rid "
                f"FROM (SELECT c.res AS res {all_of(b, plan, interval)}) AS m "
                "CROSS JOIN live AS l ON l.res = m.res",
                b,
            )
        return connection.total_changes() - before


@contextmanager
def _index_of(connection: apsw.Connection, search: SearchDefinitions, seq: int) -> Iterator[None]:
    """Within the block the names of the index mean what it was at that state."""
    try:
        connection.execute(
            "CREATE TEMP TABLE changed (res INTEGER PRIMARY KEY, type INTEGER, id TEXT)"
        )
        for table, columns in _TABLES.items():
            connection.execute(f"CREATE TEMP TABLE {table} ({columns})")
        _fill(connection, search, seq)
        for table, columns in _COLUMNS.items():
            connection.execute(f"ALTER TABLE temp.{table} RENAME TO {table}_then")
            connection.execute(
                f"CREATE TEMP VIEW {table} AS SELECT {columns} FROM main.{table} "
                "WHERE res NOT IN (SELECT res FROM temp.changed) "
                f"UNION ALL SELECT {columns} FROM temp.{table}_then"
            )
        yield
    finally:
        for table in _TABLES:
            _drop(connection, table)
            _drop(connection, f"{table}_then")
        _drop(connection, "changed")


def _drop(connection: apsw.Connection, name: str) -> None:
    kind: Any = connection.execute(
        "SELECT type FROM temp.sqlite_schema WHERE name = ?", (name,)
    ).get
    if kind is not None:
        connection.execute(f"DROP {kind} temp.{name}")


def _fill(connection: apsw.Connection, search: SearchDefinitions, seq: int) -> None:
    """What changed since, and what that said then. The rows go into the connection's tables,
    because theirs are the names that are found first; the dictionaries are the file's."""
    view = open_view(connection, search)
    for interval in view.single_intervals(()):
        connection.execute(_CHANGED, (interval.low | seq, interval.high))
    known = KnownKeys()
    then: Any = connection.execute(_THEN, (seq, DELETED)).fetchall()
    for res, type_id, id, rid, body in then:
        assert rid >> SEQ_BITS == type_id and rid & SEQ_MASK <= seq
        type = view.types[type_id]
        connection.execute(
            "INSERT INTO temp.live (res, rid, tkey) VALUES (?, ?, ?)",
            (res, rid, view.keys.target(type, id)),
        )
        change_rows(connection, known, res, NO_ROWS, search.rows(type, body))
