"""Index rows on their way into the file: of one resource, as a difference, or of a batch.

Rows go in many to a statement: each statement gives the interpreter lock away once, and takes a
third less time than one for each row (measured). They go in key order: neighbours share a page.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from backends.sqlite.queries import load_queries
from engine.fhir.search.rows import Rows, Term, Unit

_SQL: Final = load_queries("index")

# Rows of a statement. Few sizes, so that all their statements stay prepared.
_SIZES: Final = (128, 16, 4, 2, 1)
_WIDTHS: Final = {
    "tok": 2, "ref": 3, "fwd": 3, "str": 5, "dat": 5, "num": 4, "qty": 5, "term": 4, "unit": 5,
    "live": 4,
}  # fmt: skip

KNOWN_KEYS_MAX = 200_000  # of the dictionaries; some 15 MB


def _widened(table: str, size: int) -> str:
    start, one = _SQL[f"insert_{table}"].split(" VALUES ")
    return f"{start} VALUES {', '.join([one] * size)}"


_INSERTS: Final = {
    table: tuple((size, _widened(table, size)) for size in _SIZES) for table in _WIDTHS
}

NO_ROWS: Final = Rows()


class KnownKeys:
    """Keys that are in the dictionaries for certain: most tokens name the same few things."""

    def __init__(self, keys_max: int = KNOWN_KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._committed: set[int] = set()
        self._written: set[int] = set()  # in the transaction that is open

    def add(self, key: int) -> bool:
        """Whether it must be written: nobody did so for certain."""
        if key in self._committed or key in self._written:
            return False
        self._written.add(key)
        return True

    def commit(self) -> None:
        """What was written is in the file."""
        if len(self._committed) + len(self._written) > self._keys_max:
            self._committed.clear()  # the frequent ones are back soon
        self._committed |= self._written
        self._written.clear()

    def roll_back(self) -> None:
        """What was written may be gone."""
        self._written.clear()


class Postings(msgspec.Struct, frozen=True, array_like=True):
    """The index rows of a batch, in key order, with places in the batch for resources, whose
    numbers only the writer knows."""

    tokens: tuple[tuple[int, list[int]], ...]
    references: tuple[tuple[tuple[int, int], list[int]], ...]
    forward: tuple[tuple[int, int, int], ...]
    strings: tuple[tuple[int, str, int, str, int], ...]
    dates: tuple[tuple[int, int, int, int, int], ...]
    numbers: tuple[tuple[int, float, int, int], ...]
    quantities: tuple[tuple[int, int, float, int, int], ...]
    terms: tuple[Term, ...]
    units: tuple[Unit, ...]


def collect(batch: Sequence[Rows]) -> Postings:
    """Put the rows of a batch in the order of the tables. Outside of the writer."""
    tokens: defaultdict[int, list[int]] = defaultdict(list)
    references: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    forward: list[tuple[int, int, int]] = []
    strings: list[tuple[int, str, int, str, int]] = []
    dates: list[tuple[int, int, int, int, int]] = []
    numbers: list[tuple[int, float, int, int]] = []
    quantities: list[tuple[int, int, float, int, int]] = []
    terms: dict[int, Term] = {}
    units: dict[int, Unit] = {}
    for place, rows in enumerate(batch):
        for k in rows.tokens:
            tokens[k].append(place)
        for reference in rows.references:
            references[reference].append(place)
            forward.append((place, *reference))
        strings += [(p, value, place, _exact(v, value), e) for p, value, v, e in rows.strings]
        dates += [(p, lo, hi, place, edge) for p, lo, hi, edge in rows.dates]
        numbers += [(p, value, place, edge) for p, value, edge in rows.numbers]
        quantities += [(p, u, value, place, edge) for p, u, value, edge in rows.quantities]
        terms.update((term.k, term) for term in rows.terms)
        units.update((unit.u, unit) for unit in rows.units)
    return Postings(
        tokens=tuple(sorted(tokens.items())),
        references=tuple(sorted(references.items())),
        forward=tuple(forward),
        strings=tuple(sorted(strings)),
        dates=tuple(sorted(dates)),
        numbers=tuple(sorted(numbers)),
        quantities=tuple(sorted(quantities)),
        terms=tuple(terms[k] for k in sorted(terms)),
        units=tuple(units[u] for u in sorted(units)),
    )


def insert_batch(
    connection: apsw.Connection, known: KnownKeys, postings: Postings, res: Sequence[int]
) -> None:
    """Write the rows of a batch. `res` are the resources' numbers by place; 0: not this one."""
    insert(connection, "tok", [
        value for k, places in postings.tokens for place in places if (number := res[place])
        for value in (k, number)
    ])  # fmt: skip
    insert(connection, "ref", [
        value for key, places in postings.references for place in places
        if (number := res[place]) for value in (*key, number)
    ])  # fmt: skip
    insert(connection, "fwd", [
        value for place, p, target in postings.forward if (number := res[place])
        for value in (number, p, target)
    ])  # fmt: skip
    insert(connection, "str", [
        value for p, text, place, exact, edge in postings.strings if (number := res[place])
        for value in (p, text, number, exact, edge)
    ])  # fmt: skip
    insert(connection, "dat", [
        value for p, lo, hi, place, edge in postings.dates if (number := res[place])
        for value in (p, lo, hi, number, edge)
    ])  # fmt: skip
    insert(connection, "num", [
        value for p, number_, place, edge in postings.numbers if (number := res[place])
        for value in (p, number_, number, edge)
    ])  # fmt: skip
    insert(connection, "qty", [
        value for p, u, amount, place, edge in postings.quantities if (number := res[place])
        for value in (p, u, amount, number, edge)
    ])  # fmt: skip
    _insert_dictionaries(connection, known, postings.terms, postings.units)


def delete_rows(connection: apsw.Connection, res: int, rows: Rows) -> None:
    """Remove all rows of one resource; some may be gone."""
    _delete(connection, res, rows, NO_ROWS)


def change_rows(
    connection: apsw.Connection, known: KnownKeys, res: int, old: Rows, new: Rows
) -> None:
    """Write the difference between what a resource said and what it says now."""
    _delete(connection, res, old, new)
    insert(connection, "tok", [
        value for k in _missing(new.tokens, old.tokens) for value in (k, res)
    ])  # fmt: skip
    references = _missing(new.references, old.references)
    insert(connection, "ref", [value for key in references for value in (*key, res)])
    insert(connection, "fwd", [value for key in references for value in (res, *key)])
    insert(connection, "str", [
        value for p, text, written, edge in _missing(new.strings, old.strings)
        for value in (p, text, res, _exact(written, text), edge)
    ])  # fmt: skip
    insert(connection, "dat", [
        value for p, lo, hi, edge in _missing(new.dates, old.dates)
        for value in (p, lo, hi, res, edge)
    ])  # fmt: skip
    insert(connection, "num", [
        value for p, number, edge in _missing(new.numbers, old.numbers)
        for value in (p, number, res, edge)
    ])  # fmt: skip
    insert(connection, "qty", [
        value for p, u, amount, edge in _missing(new.quantities, old.quantities)
        for value in (p, u, amount, res, edge)
    ])  # fmt: skip
    _insert_dictionaries(connection, known, new.terms, new.units)


def replace_rows(
    connection: apsw.Connection,
    known: KnownKeys,
    res: int,
    old: Rows,
    new: Rows,
    *,
    complete: bool,
) -> None:
    """As change_rows; unless `complete`, some rows of `old` may not be there, because the
    definitions have changed since they were written."""
    if not complete:
        delete_rows(connection, res, old)
        old = NO_ROWS
    change_rows(connection, known, res, old, new)


def insert(connection: apsw.Connection, table: str, values: list[Any]) -> None:
    """Write rows whose values follow one another."""
    if not values:
        return
    width = _WIDTHS[table]
    start, end = 0, len(values)
    for size, statement in _INSERTS[table]:
        step = size * width
        while end - start >= step:
            connection.execute(statement, values[start : start + step])
            start += step


def _delete(connection: apsw.Connection, res: int, old: Rows, new: Rows) -> None:
    """Before anything is inserted: a row may differ from its successor in what is no key."""
    if old is NO_ROWS:
        return
    references = _missing(old.references, new.references)
    _run(connection, "delete_tok", ((k, res) for k in _missing(old.tokens, new.tokens)))
    _run(connection, "delete_ref", ((*key, res) for key in references))
    _run(connection, "delete_fwd", ((res, *key) for key in references))
    _run(connection, "delete_str", (
        (p, text, res, _exact(written, text))
        for p, text, written, _ in _missing(old.strings, new.strings)
    ))  # fmt: skip
    _run(connection, "delete_dat", (
        (p, lo, hi, res) for p, lo, hi, _ in _missing(old.dates, new.dates)
    ))  # fmt: skip
    _run(connection, "delete_num", (
        (p, number, res) for p, number, _ in _missing(old.numbers, new.numbers)
    ))  # fmt: skip
    _run(connection, "delete_qty", (
        (p, u, amount, res) for p, u, amount, _ in _missing(old.quantities, new.quantities)
    ))  # fmt: skip


def _run(connection: apsw.Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    connection.executemany(_SQL[statement], rows)


def _missing(these: tuple[Any, ...], those: tuple[Any, ...]) -> Sequence[Any]:
    """What is in the first and not in the second, in order."""
    if not those or not these:
        return these
    if these == those:
        return ()
    there = set(those)
    return [item for item in these if item not in there]


def _exact(written: str, normalized: str) -> str:
    return "" if written == normalized else written


def _insert_dictionaries(
    connection: apsw.Connection, known: KnownKeys, terms: Iterable[Term], units: Iterable[Unit]
) -> None:
    insert(connection, "term", [
        value for term in terms if known.add(term.k)
        for value in (term.k, term.path, term.system, term.code)
    ])  # fmt: skip
    insert(connection, "unit", [
        value for unit in units if known.add(unit.u)
        for value in (unit.u, unit.path, unit.system, unit.code, unit.unit)
    ])  # fmt: skip
