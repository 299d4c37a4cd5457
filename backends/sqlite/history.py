"""Histories: versions of one resource, of one type or of all, newest first.

Within a type, rids are in the order of time, so a time is a place among them and a page is a
range read backwards; several types are merged by the lower half of their rids, the seq. No page
shows what came after the first one: the next page's place lies below the last one shown.
"""

import heapq
from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from backends.sqlite.instants import last_before
from backends.sqlite.opened import OpenedFile
from backends.sqlite.queries import load_queries
from backends.sqlite.types import DELETED, REPLACED, SEQ_BITS, find_type
from engine.model import History, Version

_SQL: Final = load_queries("history")

SEQ_MASK: Final = (1 << SEQ_BITS) - 1

NOTHING: Final = History(versions=(), total=0)


class Times(msgspec.Struct, frozen=True):
    """Which versions are asked for, by time."""

    since_ms: int | None  # written at or after
    at_ms: tuple[int, int] | None  # current at some time of this range


class Span(msgspec.Struct, frozen=True):
    """The same as places among the versions of one type."""

    type_id: int
    name: str
    first: int  # rid
    last: int
    replaced_after: int | None  # by a version above this rid, or by none; None: whenever

    @property
    def sup_above(self) -> int:
        """What `sup` of the versions must be above."""
        return 0 if self.replaced_after is None else REPLACED + (self.replaced_after & SEQ_MASK)


class Histories:
    """The history side of a tenant's store."""

    _file: OpenedFile

    async def history(
        self,
        type: str | None = None,
        id: str | None = None,
        *,
        since_ms: int | None = None,
        at_ms: tuple[int, int] | None = None,
        position: int = 0,
        limit: int,
    ) -> History:
        """See engine.ports.ResourceReader."""
        times = Times(since_ms, at_ms)
        if id is None:
            return await self._file.points.call(_of_types, type, times, position, limit)
        assert type is not None, "an id alone names nothing"
        return await self._file.points.call(_of_one, type, id, times, position, limit)


def _of_one(
    connection: apsw.Connection, type: str, id: str, times: Times, position: int, limit: int
) -> History:
    with connection:  # all statements see one state
        type_id = find_type(connection, type)
        if type_id is None:
            return NOTHING
        span = _span(connection, type_id, type, times)
        what = (type_id, id, span.first)
        total, last = _resume(position, span)
        rows = connection.execute(
            _SQL["versions_of"], (*what, last, span.sup_above, limit + 1)
        ).fetchall()
        if not position:
            total = _number(connection, "count_of", (*what, span.last, span.sup_above))
    return _page([_version(type, row) for row in rows], total, limit)


def _of_types(
    connection: apsw.Connection, type: str | None, times: Times, position: int, limit: int
) -> History:
    with connection:
        names: Any = connection.execute("SELECT type_id, name FROM resource_type").fetchall()
        spans = [
            _span(connection, type_id, name, times)
            for type_id, name in names
            if type in (None, name)
        ]
        rids = _newest(connection, spans, position, limit + 1)
        total = position >> SEQ_BITS
        if not position:
            total = sum(_count(connection, span, times) for span in spans)
        found = _versions_at(connection, rids, {span.type_id: span.name for span in spans})
    return _page(found, total, limit)


def _newest(
    connection: apsw.Connection, spans: Sequence[Span], position: int, limit: int
) -> list[int]:
    """The rids of the newest versions of all these, newest first."""
    runs: list[list[int]] = []
    for span in spans:
        last = _resume(position, span)[1]
        values = (span.first, last, span.sup_above, limit)
        found: Any = connection.execute(_SQL["newest_rids"], values).fetchall()
        runs.append([rid for (rid,) in found])
    merged = heapq.merge(*runs, key=lambda rid: rid & SEQ_MASK, reverse=True)
    return [rid for rid, _ in zip(merged, range(limit), strict=False)]


def _versions_at(
    connection: apsw.Connection, rids: Sequence[int], names: dict[int, str]
) -> list[tuple[int, Version]]:
    rows: Any = connection.execute(
        _SQL["versions_at"], (msgspec.json.encode(rids).decode(),)
    ).fetchall()
    found = {row[0]: _version(names[row[0] >> SEQ_BITS], row) for row in rows}
    return [found[rid] for rid in rids]


def _page(found: Sequence[tuple[int, Version]], total: int, limit: int) -> History:
    """One more than was asked for was looked for: it says whether there is another page."""
    shown = found[:limit]
    position = 0
    if shown and len(found) > limit:
        position = total << SEQ_BITS | shown[-1][0] & SEQ_MASK
    return History(versions=tuple(version for _, version in shown), position=position, total=total)


def _resume(position: int, span: Span) -> tuple[int, int]:
    """The total that the first page found, and the last rid that this page may show."""
    if not position:
        return 0, span.last
    before = span.type_id << SEQ_BITS | position & SEQ_MASK
    return position >> SEQ_BITS, min(span.last, before - 1)


def _span(connection: apsw.Connection, type_id: int, name: str, times: Times) -> Span:
    first, last = type_id << SEQ_BITS, type_id << SEQ_BITS | SEQ_MASK
    replaced_after = None
    if times.at_ms is not None:
        start_ms, end_ms = times.at_ms
        replaced_after = last_before(connection, first, last, start_ms + 1)
        last = last_before(connection, first, last, end_ms)
    if times.since_ms is not None:
        first = last_before(connection, first, last, times.since_ms) + 1
    return Span(type_id, name, first, last, replaced_after)


def _count(connection: apsw.Connection, span: Span, times: Times) -> int:
    if times.at_ms is None and times.since_ms is None:
        return _number(connection, "count_all", (span.type_id,))
    if span.replaced_after is None:
        return _number(connection, "count_between", (span.type_id, span.first, span.last))
    values = (span.type_id, span.first, span.last, span.replaced_after)
    return _number(connection, "count_current", values)


def _number(connection: apsw.Connection, query: str, values: tuple[Any, ...]) -> int:
    number: Any = connection.execute(_SQL[query], values).get
    return int(number)


def _version(type: str, row: Any) -> tuple[int, Version]:
    rid, id, ver, upd_ms, flags, body = row
    return rid, Version(type, id, ver, upd_ms, None if flags & DELETED else body)
