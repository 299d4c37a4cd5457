"""Opens the memory backend: one process's way into a world."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backends import Backend, Capabilities
from backends.memory.jobs import MemoryExportJobs
from backends.memory.leases import MemoryLeases, MemoryWorkLeases
from backends.memory.outputs import Coding, MemoryOutputs
from backends.memory.state import MemoryWorld, Process
from backends.memory.tenants import MemoryTenants
from backends.memory.upkeep import MemoryExportUpkeep
from backends.memory.work import MemoryExportWork
from backends.memory.works import MemoryStoreWorks
from engine.model import WorkerId


@dataclass(frozen=True, kw_only=True)
class MemoryBackend(Backend):
    """The ports of one process, outputs included."""

    process: Process
    outputs: MemoryOutputs


@asynccontextmanager
async def open_memory(
    world: MemoryWorld, *, worker: WorkerId, coding: Coding = ""
) -> AsyncIterator[MemoryBackend]:
    """Enter a world as a process of this name. Leaving the block ends the process: its
    leases may be taken at once, and what still holds one of its ports is refused."""
    process = Process.start(world, worker)
    try:
        yield MemoryBackend(
            process=process,
            capabilities=Capabilities(name="memory", durable=False, processes=False),
            tenants=MemoryTenants(process),
            export_jobs=MemoryExportJobs(process),
            export_leases=MemoryLeases(process),
            export_work=MemoryExportWork(process),
            export_upkeep=MemoryExportUpkeep(process),
            store_works=MemoryStoreWorks(process),
            work_leases=MemoryWorkLeases(process),
            outputs=MemoryOutputs(process, coding),
        )
    finally:
        if not process.dead:
            world.kill(worker)
