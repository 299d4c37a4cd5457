"""Prune: forgets old versions of a tenant's resources, step by step.

A step removes nothing that an open snapshot shows: the store sees to it. A version that was
replaced before now can be in no later snapshot, so steps need no fence, and may be repeated.
"""

from collections.abc import Awaitable, Callable

import msgspec

from engine.upkeep.ports import Pruning, Standing, StoreUpkeep


async def prune(
    store: StoreUpkeep,
    task: Pruning,
    standing: Standing,
    save: Callable[[Standing], Awaitable[None]],
    *,
    dry_run: bool = False,
) -> Standing:
    """Go on after `standing` to the end, or only count what would go.

    Cancelled: `standing` may lag behind what was done, which is then found done.
    """
    while True:
        step = await store.prune(
            older_than_ms=task.older_than_ms,
            keep=task.keep,
            after=standing.cursor,
            dry_run=dry_run,
        )
        standing = msgspec.structs.replace(
            standing,
            begun=True,
            looked=standing.looked + step.looked,
            changed=standing.changed + step.removed,
            cursor=step.cursor,
        )
        if step.cursor is None:
            return standing
        await save(standing)
