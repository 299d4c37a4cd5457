"""The tenant registry of the memory backend."""

from collections.abc import Sequence

from backends.memory.bulk import MemoryBulk
from backends.memory.history import MemoryHistories
from backends.memory.resources import MemoryResources
from backends.memory.search import MemorySearch
from backends.memory.session import MemoryTransact
from backends.memory.state import Process, StoreState, TenantRow
from backends.memory.store_upkeep import MemoryUpkeep
from engine.errors import NotFound
from engine.tenant import Tenant, TenantId, TenantKey


class MemoryTenantStore(
    MemoryResources, MemoryHistories, MemoryTransact, MemorySearch, MemoryBulk, MemoryUpkeep
):
    """TenantStore: all that one tenant's store does."""


class MemoryTenants:
    """Tenants."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def get(self, tenant: TenantId) -> Tenant:
        """See Tenants."""
        return await self._process.look(lambda: self._row(tenant).tenant)

    async def ensure(self, tenant: TenantId) -> Tenant:
        """See Tenants."""
        return await self._process.effect(lambda: self._ensure(tenant))

    async def list(self) -> Sequence[Tenant]:
        """See Tenants."""
        rows = self._process.world.tenants
        return await self._process.look(lambda: [row.tenant for row in rows.values()])

    async def store(self, tenant: TenantId) -> MemoryTenantStore:
        """See Tenants."""
        row = await self._process.look(lambda: self._row(tenant))
        return MemoryTenantStore(self._process, row.store)

    def _row(self, tenant: TenantId) -> TenantRow:
        return tenant_row(self._process, tenant)

    def _ensure(self, id: TenantId) -> Tenant:
        world = self._process.world
        if id not in world.tenants:
            tenant = Tenant(id, TenantKey(world.new_key()))
            world.tenants[id] = TenantRow(tenant, StoreState(world.new_id(), id))
        return world.tenants[id].tenant


def tenant_row(process: Process, tenant: TenantId) -> TenantRow:
    """The tenant's row. Raises NotFound."""
    row = process.world.tenants.get(tenant)
    if row is None:
        raise NotFound(f"there is no tenant {tenant}")
    return row
