"""Tenants of the SQLite backend: rows of control.db, and one file each for their data."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import apsw
import trio

from backends.sqlite.control import SQL, Control, first_row
from engine.errors import NotFound
from engine.ports import TenantStore
from engine.tenant import Tenant, TenantId, TenantKey

OpenStore = Callable[[Path, TenantId], AbstractAsyncContextManager[TenantStore]]


class SqliteTenants:
    """The registry, and the stores that this process has opened: each once, until the end."""

    def __init__(
        self,
        control: Control,
        folder: Path,
        *,
        new_key: Callable[[], str],
        open_store: OpenStore,
        nursery: trio.Nursery,
    ) -> None:
        self._control = control
        self._folder = folder
        self._new_key = new_key
        self._open_store = open_store
        self._nursery = nursery
        self._closing = trio.Event()
        self._stores: dict[TenantKey, TenantStore] = {}
        self._opening: dict[TenantKey, trio.Lock] = {}

    async def get(self, tenant: TenantId) -> Tenant:
        """See Tenants.get."""
        return await self._control.glance(tenant_of, tenant)

    async def ensure(self, tenant: TenantId) -> Tenant:
        """See Tenants.ensure."""
        return await self._control.writes.write(self._ensure, tenant)

    async def list(self) -> Sequence[Tenant]:
        """See Tenants.list."""
        return await self._control.reads.read(_tenants)

    async def store(self, tenant: TenantId) -> TenantStore:
        """See Tenants.store. If one of several callers is cancelled, the next one opens it."""
        key = (await self.get(tenant)).key
        if key not in self._stores:
            async with self._opening.setdefault(key, trio.Lock()):
                if key not in self._stores:
                    await self._nursery.start(self._keep_open, tenant, key)
        return self._stores[key]

    def close_nowait(self) -> None:
        """Let every store close; the nursery ends when they have."""
        self._closing.set()

    async def _keep_open(
        self,
        tenant: TenantId,
        key: TenantKey,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Open one store, and hold it open until all are closed."""
        # Only from the key: a tenant's name is for people, and may hold a slash.
        async with self._open_store(self._folder / f"{key}.db", tenant) as store:
            self._stores[key] = store
            try:
                task_status.started()
                await self._closing.wait()
            finally:
                del self._stores[key]

    def _ensure(self, connection: apsw.Connection, tenant: TenantId) -> Tenant:
        row = first_row(connection, "tenant", {"tenant": tenant})
        if row is None:
            values = {
                "tenant": tenant,
                "key": self._new_key(),
                "wall": self._control.clock.now_ms(),
            }
            connection.execute(SQL["add_tenant"], values)
        return tenant_of(connection, tenant)


@asynccontextmanager
async def open_tenants(
    control: Control, folder: Path, *, new_key: Callable[[], str], open_store: OpenStore
) -> AsyncIterator[SqliteTenants]:
    """The registry; on leaving, every store that was opened through it is closed.

    An error of the block leaves as it is, not in a group: the nursery is our own affair.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        tenants = SqliteTenants(
            control, folder, new_key=new_key, open_store=open_store, nursery=nursery
        )
        try:
            yield tenants
        except Exception as error:
            failure = error  # raised below, once the stores are closed
        tenants.close_nowait()
    if failure is not None:
        raise failure


def tenant_of(connection: apsw.Connection, tenant: TenantId) -> Tenant:
    """The tenant of that name. Raises NotFound."""
    row = first_row(connection, "tenant", {"tenant": tenant})
    if row is None:
        raise NotFound("there is no such tenant")
    return Tenant(TenantId(row[0]), TenantKey(row[1]))


def _tenants(connection: apsw.Connection) -> list[Tenant]:
    rows = connection.execute(SQL["tenants"]).fetchall()
    return [Tenant(TenantId(str(id)), TenantKey(str(key))) for id, key in rows]
