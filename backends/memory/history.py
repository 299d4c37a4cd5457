"""Histories of the memory backend."""

from backends.memory.state import SEQ_BITS, Process, Row, StoreState
from engine.model import History


class MemoryHistories:
    """The history of ResourceReader, for one tenant."""

    _process: Process
    _store: StoreState

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
        """See ResourceReader."""
        assert type is not None or id is None, "an id alone names nothing"
        return await self._process.look(
            lambda: _page(
                [
                    row
                    for row in reversed(self._store.rows)
                    if type in (None, row.version.type)
                    and id in (None, row.version.id)
                    and (since_ms is None or row.version.updated_ms >= since_ms)
                    and (at_ms is None or _current_within(self._store, row, *at_ms))
                ],
                position,
                limit,
            )
        )


def _page(rows: list[Row], position: int, limit: int) -> History:
    total = position >> SEQ_BITS if position else len(rows)
    before = position & ((1 << SEQ_BITS) - 1)
    rest = [row for row in rows if not position or row.seq < before]
    shown = rest[:limit]
    more = shown and len(rest) > limit
    return History(
        versions=tuple(row.version for row in shown),
        position=total << SEQ_BITS | shown[-1].seq if more else 0,
        total=total,
    )


def _current_within(store: StoreState, row: Row, start_ms: int, end_ms: int) -> bool:
    """Whether it was current at some time of this range: from when it was written until it was
    replaced."""
    versions = store.versions[row.version.type, row.version.id]
    after = versions[versions.index(row) + 1 :]
    replaced_ms = after[0].version.updated_ms if after else None
    return row.version.updated_ms < end_ms and (replaced_ms is None or replaced_ms > start_ms)
