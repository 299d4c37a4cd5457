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

_COUNT_SUPERSEDED: Final = f"SELECT count(*) FROM ({_SQL['superseded']})"

NO_LIMIT = -1
STEP_IDS_MAX = 5000  # looked at
STEP_VERSIONS_MAX = 1000  # removed: some 50 ms of the writer

Old = tuple[int, str, int, int]  # type, id, number and rid of a version


class Prune:
    """The side of a tenant's store that forgets."""

    _file: OpenedFile

    async def prune(
        self,
        *,
        older_than_ms: int,
        keep: int,
        after: tuple[str, str] | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """See engine.upkeep.ports.StoreUpkeep."""
        assert keep >= 1, "the current version stays"
        scans = self._file.scans
        if dry_run:
            return await scans.call(_count, older_than_ms, keep, after)
        old, cursor, looked = await scans.call(_find, older_than_ms, keep, after)
        if not old:
            return Pruned(cursor=cursor, removed=0, looked=looked)
        removed = await self._file.writer.apply(lambda transaction: _remove(transaction, old))
        return Pruned(cursor=cursor, removed=removed, looked=looked)


class Next(msgspec.Struct, frozen=True):
    """The resources that a step looks at."""

    many: str  # JSON: type and id of those with enough versions
    versions: int  # of all of them
    cursor: tuple[str, str] | None  # where the next step begins


def _next(connection: apsw.Connection, keep: int, after: tuple[str, str] | None) -> Next:
    start = (find_type(connection, after[0]) or 0, after[1]) if after else (0, "")
    ids: Any = connection.execute(_SQL["next_ids"], (*start, STEP_IDS_MAX)).fetchall()
    many = [(type_id, id) for type_id, id, versions in ids if versions > keep]
    cursor = None
    if len(ids) == STEP_IDS_MAX:
        type_id, id, _ = ids[-1]
        name: Any = connection.execute(_SQL["type_name"], (type_id,)).get
        cursor = (str(name), id)
    versions = sum(versions for *_, versions in ids)
    return Next(msgspec.json.encode(many).decode(), versions, cursor)


def _find(
    connection: apsw.Connection, older_than_ms: int, keep: int, after: tuple[str, str] | None
) -> tuple[list[Old], tuple[str, str] | None, int]:
    """What is to go, where the next step begins, and how many versions were looked at."""
    with connection:  # all statements see one state
        step = _next(connection, keep, after)
        values = (step.many, older_than_ms, keep, STEP_VERSIONS_MAX)
        old: Any = connection.execute(_SQL["superseded"], values).fetchall()
    if len(old) == STEP_VERSIONS_MAX:
        # There may be more of the same resources, which are looked at again.
        return old, after or ("", ""), len(old)
    return old, step.cursor, step.versions


def _count(
    connection: apsw.Connection, older_than_ms: int, keep: int, after: tuple[str, str] | None
) -> Pruned:
    """How many would go, of all versions of the next resources."""
    with connection:
        step = _next(connection, keep, after)
        values = (step.many, older_than_ms, keep, NO_LIMIT)
        count: Any = connection.execute(_COUNT_SUPERSEDED, values).get
    return Pruned(cursor=step.cursor, removed=count, looked=step.versions)


def _remove(transaction: WriteTransaction, old: list[Old]) -> int:
    connection = transaction.connection
    rids = msgspec.json.encode([rid for *_, rid in old]).decode()
    types: Any = connection.execute(_SQL["delete_versions"], (rids,)).fetchall()
    connection.executemany(_SQL["delete_version_keys"], [key for *key, _ in old])
    for (type_id,), removed in Counter(types).items():
        connection.execute(_SQL["uncount_version"], (type_id, removed))
    return len(types)
