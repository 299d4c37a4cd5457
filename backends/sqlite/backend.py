"""Opens the SQLite backend: one data directory, shared by the processes of one machine.

control.db        tenants, jobs, leases, recorded parts
tenants/KEY.db    one tenant's resources
workers/ID.lock   held by each live worker
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from backends import Backend, Capabilities
from backends.clock import StoreClock
from backends.definitions import MakerOf
from backends.door import Door
from backends.sqlite.control import (
    CLOSE_SECONDS_MAX,
    EXPORTS,
    WORKS,
    Control,
    make_door,
    open_control,
)
from backends.sqlite.doors import inline_doors, thread_doors
from backends.sqlite.jobs import SqliteExportJobs
from backends.sqlite.leases import Changed, SqliteLeases
from backends.sqlite.tenant_store import SqliteTenantStore, open_tenant_store
from backends.sqlite.tenants import open_tenants
from backends.sqlite.upkeep import SqliteExportUpkeep
from backends.sqlite.work import SqliteExportWork
from backends.sqlite.workers import WorkerLocks
from backends.sqlite.works import SqliteStoreWorks
from engine.errors import SettingInvalid
from engine.model import WorkerId
from engine.tenant import TenantId


@dataclass(frozen=True, kw_only=True)
class SqliteBackend(Backend):
    """The ports, and control.db itself for who looks after the file."""

    control: Control


CAPABILITIES = Capabilities(name="sqlite", durable=True, processes=True)


@asynccontextmanager
async def open_sqlite(
    folder: Path,
    *,
    worker: WorkerId,
    clock: StoreClock,
    inline: bool,
    new_key: Callable[[], str],
    new_id: Callable[[], str],
    makers: MakerOf,
) -> AsyncIterator[SqliteBackend]:
    """Open a data directory, made if it is new.

    Raises SettingInvalid (it cannot be used), SchemaTooNew, StoreDamaged, StartupError.
    """
    door = make_door(inline=inline)
    await door.call(_make_folders, folder)
    locks = WorkerLocks(folder / "workers", worker)
    doors = inline_doors() if inline else thread_doors()

    def open_store(path: Path, tenant: TenantId) -> AbstractAsyncContextManager[SqliteTenantStore]:
        return open_tenant_store(
            path, clock=clock, doors=doors, new_id=new_id, maker=makers(tenant)
        )

    async with (
        _alive(locks, door),
        open_control(
            folder / "control.db", worker=worker, clock=clock, locks=locks, inline=inline
        ) as control,
        open_tenants(
            control, folder / "tenants", new_key=new_key, open_store=open_store
        ) as tenants,
    ):
        changed = Changed(control)
        yield SqliteBackend(
            control=control,
            capabilities=CAPABILITIES,
            tenants=tenants,
            export_jobs=SqliteExportJobs(control),
            export_leases=SqliteLeases(control, changed, EXPORTS),
            export_work=SqliteExportWork(control),
            export_upkeep=SqliteExportUpkeep(control),
            store_works=SqliteStoreWorks(control, new_id),
            work_leases=SqliteLeases(control, changed, WORKS),
        )


@asynccontextmanager
async def _alive(locks: WorkerLocks, door: Door) -> AsyncIterator[None]:
    """Hold the worker's lock. Let go last, when nothing of this worker can write any more."""
    descriptor = await door.call(locks.take)
    try:
        yield
    finally:
        with trio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
            await door.call(locks.let_go, descriptor)


def _make_folders(folder: Path) -> None:
    """Folders that only their owner can enter, and that a power cut cannot take back."""
    for path in (folder, folder / "tenants", folder / "workers"):
        try:
            if not path.is_dir():
                os.makedirs(path, mode=0o700, exist_ok=True)
                _sync(path.parent)
        except OSError as error:
            raise SettingInvalid("store", f"{path}: cannot be made ({error.strerror})") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
