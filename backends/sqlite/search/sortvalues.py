"""What a resource is sorted by: one value for each key of `_sort`, None where it has none.

Ascending by the least value, descending by the greatest; those without a value come last in both
directions, and ties are in order of res. A range of time stands where it begins, a token by its
code and then its system. Source: FHIR R4 search.html, "Sorting".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from backends.sqlite.search.comparing import TABLES
from backends.sqlite.search.ordered import body_rows
from backends.sqlite.search.view import View
from backends.sqlite.search.walks import Hit, Key, Place
from engine.errors import NotSupported
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.rows import Rows
from engine.fhir.search.tree import SortKey

# Where the value stands among the columns of a body's row, and what it is called in the table.
_PLACES = {"str": 1, "dat": 1, "num": 1, "qty": 2}
COLUMNS = {"str": "value", "dat": "lo", "num": "value", "qty": "value"}


@dataclass(frozen=True)
class ValueKey:
    """A key that looks at a parameter."""

    paths: tuple[int, ...]
    table: str  # "tok" for tokens and uris
    descending: bool

    def value(self, hit: Hit, view: View) -> Any:
        """Of one resource."""
        found = list(self._values(hit.rows(view)))
        if not found:
            return None
        return max(found) if self.descending else min(found)

    def _values(self, rows: Rows) -> Iterable[Any]:
        if self.table == "tok":
            return (token_text(t.code, t.system) for t in rows.terms if t.path in self.paths)
        place = _PLACES[self.table]
        return (row[place] for row in body_rows(rows, self.table) if row[0] in self.paths)


@dataclass(frozen=True)
class TimeKey:
    """`_lastUpdated`."""

    descending: bool

    def value(self, hit: Hit, view: View) -> Any:
        """Of one resource."""
        return hit.version(view).updated_ms


@dataclass(frozen=True)
class IdKey:
    """`_id`."""

    descending: bool

    def value(self, hit: Hit, view: View) -> Any:
        """Of one resource."""
        return hit.version(view).id


AnyKey = ValueKey | TimeKey | IdKey


def token_text(code: str, system: str) -> str:
    """By code, then by system."""
    return f"{code}\0{system}"


def sort_key(view: View, key: SortKey) -> AnyKey:
    """A key of the query. Raises NotSupported for what has no order."""
    if key.by_id:
        return IdKey(key.descending)
    if key.parameter is None:
        return TimeKey(key.descending)
    kind, paths = key.parameter.kind, view.paths(key.parameter)
    if kind in TABLES:
        return ValueKey(paths, TABLES[kind], key.descending)
    if kind in (SearchKind.TOKEN, SearchKind.URI):
        return ValueKey(paths, "tok", key.descending)
    raise NotSupported(
        f"results are not sorted by '{key.parameter.code}', a {kind} parameter: sort by a date, "
        "number, quantity, string, token or uri",
        expression="_sort",
    )


def place_order(keys: Sequence[AnyKey]) -> Any:
    """A key for `sorted`: the order of places under these keys."""

    def compare(one: Place, other: Place) -> int:
        for key, a, b in zip(keys, one.key, other.key, strict=True):
            if a != b:
                if a is None or b is None:
                    return 1 if a is None else -1
                return -1 if (a < b) is not key.descending else 1
        return (one.res > other.res) - (one.res < other.res)

    return cmp_to_key(compare)


def keyed(hit: Hit, keys: Sequence[AnyKey], view: View) -> Hit:
    """The hit with its sort values."""
    values: Key = tuple(key.value(hit, view) for key in keys)
    hit.key = values
    return hit
