"""Upkeep of the memory backend's stores. Its index is the resources themselves."""

from itertools import pairwise

from backends.memory.state import Process, Row, StoreState
from engine.model import JobId, Pruned, Reindexed


class MemoryUpkeep:
    """StoreUpkeep of one tenant."""

    _process: Process
    _store: StoreState

    async def indexed(self) -> bool:
        """See StoreUpkeep."""
        return await self._process.look(lambda: True)

    async def begin_reindex(self, job: JobId, token: int, *, rebuild: bool = False) -> None:
        """See StoreUpkeep."""
        await self._process.look(lambda: None)

    async def step_reindex(self, job: JobId, token: int) -> Reindexed:
        """See StoreUpkeep."""
        return await self._process.look(lambda: Reindexed(done=True, looked=0, fixed=0))

    async def prune(
        self,
        *,
        older_than_ms: int,
        keep: int,
        after: tuple[str, str] | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """See StoreUpkeep. All in one step."""
        assert keep >= 1
        return await self._process.effect(lambda: _prune(self._store, older_than_ms, keep, dry_run))


def _prune(store: StoreState, older_than_ms: int, keep: int, dry_run: bool) -> Pruned:
    looked = len(store.rows)
    gone = [
        row
        for versions in store.versions.values()
        for row, after in list(pairwise(versions))[: max(0, len(versions) - keep)]
        if after.version.updated_ms < older_than_ms and not _is_pinned(store, row)
    ]
    if dry_run:
        return Pruned(cursor=None, removed=len(gone), looked=looked)
    numbers = {row.seq for row in gone}
    store.rows[:] = [row for row in store.rows if row.seq not in numbers]
    for versions in store.versions.values():
        versions[:] = [row for row in versions if row.seq not in numbers]
    return Pruned(cursor=None, removed=len(gone), looked=looked)


def _is_pinned(store: StoreState, row: Row) -> bool:
    return any(row.visible(pin.snapshot) for pin in store.pins.values())
