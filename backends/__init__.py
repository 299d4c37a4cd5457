"""Backends: where resources, jobs and files are kept. Opened by URL, in one place.

sqlite:PATH   a data directory: control.db, one file per tenant, locks of live workers
memory:       nothing outlives the process; for tests
"""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from backends.clock import StoreClock, SystemStoreClock
from backends.definitions import MakerOf, ReleaseMakers, SearchSettings
from engine.clock import Clock, Entropy
from engine.errors import SettingInvalid
from engine.model import WorkerId
from engine.ports import (
    ExportJobs,
    ExportUpkeep,
    ExportWork,
    Leases,
    OutputStore,
    Ports,
    Tenants,
)
from engine.upkeep.ports import StoreWorks

TENANT_KEY_BYTES = 8
STORE_ID_BYTES = 16
DEFAULT_SEARCH = SearchSettings()


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend can do beyond its ports."""

    name: str
    durable: bool  # what it acknowledged survives a power cut
    processes: bool  # several processes may open it at once


@dataclass(frozen=True, kw_only=True)
class Backend:
    """An open backend: every port of the engine but the outputs."""

    capabilities: Capabilities
    tenants: Tenants
    export_jobs: ExportJobs
    export_leases: Leases
    export_work: ExportWork
    export_upkeep: ExportUpkeep
    store_works: StoreWorks
    work_leases: Leases

    def ports(self, outputs: OutputStore, *, clock: Clock, entropy: Entropy) -> Ports:
        """All that an engine is given: this backend with an output store, a clock and chance."""
        return Ports(
            tenants=self.tenants,
            export_jobs=self.export_jobs,
            export_leases=self.export_leases,
            export_work=self.export_work,
            export_upkeep=self.export_upkeep,
            store_works=self.store_works,
            work_leases=self.work_leases,
            outputs=outputs,
            clock=clock,
            entropy=entropy,
        )


def random_tenant_key() -> str:
    """A new tenant's key: opaque, and never given twice."""
    return secrets.token_hex(TENANT_KEY_BYTES)


def random_store_id() -> str:
    """A new store's id: one that no store had before."""
    return secrets.token_hex(STORE_ID_BYTES)


@asynccontextmanager
async def open(
    url: str,
    *,
    worker: WorkerId,
    clock: StoreClock | None = None,
    inline: bool = False,
    new_key: Callable[[], str] = random_tenant_key,
    new_id: Callable[[], str] = random_store_id,
    search: SearchSettings | MakerOf = DEFAULT_SEARCH,
) -> AsyncIterator[Backend]:
    """Open the backend that `url` names, for a worker of this id, and close it after.

    `inline` makes blocking calls in the loop's own thread, for virtual time. `new_key` and
    `new_id` name new tenants' outputs and stores; `search` is what search needs to know, or
    what makes the tenants' definitions. Raises SettingInvalid, SchemaTooNew, StoreDamaged,
    StartupError.
    """
    scheme, _, path = url.partition(":")
    clock = SystemStoreClock() if clock is None else clock
    makers = ReleaseMakers(search) if isinstance(search, SearchSettings) else search
    # Imported only when asked for: one backend's libraries are no other's concern.
    match scheme:
        case "sqlite" if path:
            from backends.sqlite.backend import open_sqlite

            async with open_sqlite(
                Path(path),
                worker=worker,
                clock=clock,
                inline=inline,
                new_key=new_key,
                new_id=new_id,
                makers=makers,
            ) as backend:
                yield backend
        case "memory" if not path:
            from backends.memory.backend import open_memory
            from backends.memory.state import MemoryWorld

            world = MemoryWorld(clock=clock, new_key=new_key, new_id=new_id, makers=makers)
            async with open_memory(world, worker=worker) as backend:
                yield backend
        case _:
            raise SettingInvalid(
                "store", f"'{url}' is not sqlite:PATH (a data directory) or memory:"
            )
