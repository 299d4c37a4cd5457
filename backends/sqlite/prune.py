"""Prune: removes old versions of resources, a few thousand at a time.

What goes was replaced long ago, so no later snapshot can show it: it may be looked for outside
of the writer's transaction.
"""

from collections import Counter
from typing import Any, Final

import apsw
import msgspec

from backends.sqlite.opened import OpenedFile
from backends.sqlite.queries import load_queries
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.types import find_type
from engine.model import Pruned

_SQL: Final = load_queries("upkeep")

STEP_IDS_MAX = 5000  # looked at
STEP_VERSIONS_MAX = 1000  # removed: some 50 ms of the writer

Old = tuple[int, str, int, int]  # type, id, number and rid of a version


class Prune:
    """The side of a tenant's store that forgets."""

    _file: OpenedFile

    async def prune(
        self, *, older_than_ms: int, keep: int, after: tuple[str, str] | None = None
    ) -> Pruned:
        """See engine.ports.StoreUpkeep."""
        assert keep >= 1, "the current version stays"
        old, cursor = await self._file.scans.call(_find, older_than_ms, keep, after)
        if not old:
            return Pruned(cursor=cursor, removed=0)
        removed = await self._file.writer.apply(lambda transaction: _remove(transaction, old))
        return Pruned(cursor=cursor, removed=removed)


def _find(
    connection: apsw.Connection, older_than_ms: int, keep: int, after: tuple[str, str] | None
) -> tuple[list[Old], tuple[str, str] | None]:
    """What is to go, and where the next step begins."""
    with connection:  # all statements see one state
        start = (find_type(connection, after[0]) or 0, after[1]) if after else (0, "")
        ids: Any = connection.execute(_SQL["next_ids"], (*start, STEP_IDS_MAX)).fetchall()
        many = [(type_id, id) for type_id, id, versions in ids if versions > keep]
        values = (msgspec.json.encode(many).decode(), older_than_ms, keep, STEP_VERSIONS_MAX)
        old: Any = connection.execute(_SQL["superseded"], values).fetchall()
        type_id, id, _ = ids[-1] if ids else (0, "", 0)
        name: Any = connection.execute(_SQL["type_name"], (type_id,)).get
    if len(old) == STEP_VERSIONS_MAX:
        return old, after or ("", "")  # there may be more of the same resources
    if len(ids) < STEP_IDS_MAX:
        return old, None
    return old, (str(name), id)


def _remove(transaction: WriteTransaction, old: list[Old]) -> int:
    connection = transaction.connection
    rids = msgspec.json.encode([rid for *_, rid in old]).decode()
    types: Any = connection.execute(_SQL["delete_versions"], (rids,)).fetchall()
    connection.executemany(_SQL["delete_version_keys"], [key for *key, _ in old])
    for (type_id,), removed in Counter(types).items():
        connection.execute(_SQL["uncount_version"], (type_id, removed))
    return len(types)
