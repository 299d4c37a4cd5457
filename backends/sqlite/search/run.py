"""Runs searches on a connection: a page, a count, and the few matches of a conditional form.

Blocking code. Each call looks at one state of the store: the callers' transaction, if one is
open, or one of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import apsw

from backends.sqlite.definitions import require_indexed
from backends.sqlite.search.includes import included
from backends.sqlite.search.pages import Page, read_page
from backends.sqlite.search.totals import count_matches
from backends.sqlite.search.view import LIMITS, Limits, View, open_view
from backends.sqlite.search.walks import Hit
from engine.errors import TooCostly
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.tree import Query
from engine.model import Found, Version


def find(
    connection: apsw.Connection, query: Query, search: SearchDefinitions, *, limit: int
) -> list[Version]:
    """Up to `limit` matches in the query's order, includes left aside; sees what the connection
    has not committed. Raises NotIndexed."""
    with _state(connection, query, search) as view:
        page = read_page(view, query, limit=limit, position=b"")
        return [hit.version(view) for hit, _ in page.hits]


def search_page(
    connection: apsw.Connection,
    query: Query,
    search: SearchDefinitions,
    *,
    limit: int,
    position: bytes = b"",
    limits: Limits = LIMITS,
) -> Found:
    """One page, see engine.ports.ResourceSearch. It is shorter than `limit` if more matches
    would include too much. Raises BadParameter, TooCostly, NotIndexed."""
    assert limit > 0
    with _state(connection, query, search, limits) as view:
        page = read_page(view, query, limit=limit, position=position)
        size, others = _with_includes(view, query, page)
        hits = page.hits[:size]
        more = page.more or size < len(page.hits)
        return Found(
            matches=tuple(hit.version(view) for hit, _ in hits),
            included=tuple(hit.version(view) for hit in others),
            position=hits[-1][1] if more else b"",
        )


def count(
    connection: apsw.Connection,
    query: Query,
    search: SearchDefinitions,
    *,
    limits: Limits = LIMITS,
) -> int:
    """How many match, exactly. Raises NotIndexed, TooCostly."""
    with _state(connection, query, search, limits) as view:
        return count_matches(view, query)


@contextmanager
def one_state(connection: apsw.Connection) -> Iterator[None]:
    """All statements of the block see the same, in the transaction that is open or a new one."""
    with connection:
        yield


@contextmanager
def _state(
    connection: apsw.Connection,
    query: Query,
    search: SearchDefinitions,
    limits: Limits = LIMITS,
) -> Iterator[View]:
    with one_state(connection):
        require_indexed(connection, query)
        yield open_view(connection, search, limits)


def _with_includes(view: View, query: Query, page: Page) -> tuple[int, Sequence[Hit]]:
    """So many matches that what they include is not too much, and that."""
    size = len(page.hits)
    if not query.includes:
        return size, ()
    try:
        return size, included(view, query.includes, (hit for hit, _ in page.hits))
    except TooCostly:
        if size <= 1:
            raise
    return _with_includes(view, query, Page(page.hits[: size // 2], more=True))
