"""Reindex: walks over a tenant's store until its index holds what can be searched for now.

Searches go on meanwhile, by all parameters that the index holds wholly already; the others are
answered with NotIndexed. The store itself remembers how far the walk is.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import msgspec
import structlog

from engine.limits import EngineLimits
from engine.model import JobId, Lease
from engine.ports import Ports
from engine.upkeep.janitor import sparing_the_others
from engine.upkeep.ports import Reindex, Standing, StoreUpkeep

log = structlog.get_logger()

# Under which the store keeps how far it is. One name for all reindexes of a store, because the
# tokens of their leases grow from one to the next: a step of an old one that comes late is refused.
FENCE: Final = JobId("reindex")


async def reindex(
    store: StoreUpkeep,
    task: Reindex,
    standing: Standing,
    lease: Lease,
    save: Callable[[Standing], Awaitable[None]],
) -> Standing:
    """Take the work up and carry it to its end. Raises LeaseLost.

    Cancelled: whoever takes it up next goes on where it is.
    """
    # What was begun is not emptied a second time.
    await store.begin_reindex(FENCE, lease.token, rebuild=task.rebuild and not standing.begun)
    standing = msgspec.structs.replace(standing, begun=True)
    await save(standing)
    while not (step := await store.step_reindex(FENCE, lease.token)).done:
        standing = msgspec.structs.replace(
            standing, looked=standing.looked + step.looked, changed=standing.changed + step.fixed
        )
        await save(standing)
    return standing


class Reindexer:
    """Asks for a reindex wherever an index lacks something: after a tenant got a SearchParameter
    of its own, or a store came from an older program. One round now and then."""

    def __init__(self, ports: Ports, limits: EngineLimits) -> None:
        self._ports = ports
        self._limits = limits

    async def run(self) -> NoReturn:
        """Raises Transient if the job store is in trouble."""
        while True:
            await self.round()
            jitter = self._ports.entropy.jitter(0.8, 1.2)
            await self._ports.clock.sleep(self._limits.upkeep_seconds * jitter)

    async def round(self) -> None:
        """Look at every tenant."""
        for tenant in await self._ports.tenants.list():
            with sparing_the_others(tenant.id):
                store = await self._ports.tenants.store(tenant.id)
                if not await store.indexed():
                    work = await self._ports.store_works.ask(tenant.id, Reindex())
                    if not work.standing.begun:
                        log.info("reindex asked for", tenant=tenant.id, job=work.id)
