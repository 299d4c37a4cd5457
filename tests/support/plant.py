"""A plant: one place with state, and engines at work on it, each in a process of its own name.

Runs on the memory model, and on SQLite with real files whose calls are made inline, so that
both go by virtual time.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

import backends
from backends.files import open_files
from backends.files.store import FilesDoors
from backends.memory import MemoryWorld, open_memory
from engine.export.kickoff import kick_off
from engine.limits import EngineLimits
from engine.messages import Wake
from engine.model import ExportJob, ExportRequest, FinalizedPart, JobId, Prepared, WorkerId
from engine.ports import Ports, TenantStore
from engine.supervisor import Supervisor
from tests.support.clocks import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.exports import ACME

KINDS = ("memory", "sqlite")
WAIT_SECONDS_MAX = 1800.0  # of virtual time: what takes longer hangs

LIMITS = EngineLimits(part_bytes=64 * 1024, upkeep_seconds=600.0)

Wrap = Callable[[Ports], Ports]


@dataclass
class Engine:
    """One engine at work."""

    ports: Ports
    supervisor: Supervisor
    limits: EngineLimits
    scope: trio.CancelScope

    async def store(self) -> TenantStore:
        return await self.ports.tenants.store(ACME)

    async def fill(self, resources: Iterable[Prepared]) -> None:
        """Take these in, in one batch."""
        await (await self.store()).ingest(list(resources))

    async def start(self, request: ExportRequest | None = None) -> JobId:
        """Kick an export off and wake the claimer."""
        request = ExportRequest() if request is None else request
        job = await kick_off(self.ports, self.limits, ACME, request)
        self.supervisor.tell(Wake())
        return job.id

    async def job(self, job: JobId) -> ExportJob:
        return await self.ports.export_jobs.get(ACME, job)

    async def until(self, job: JobId, wanted: Callable[[ExportJob], bool]) -> ExportJob:
        """The job as soon as it is as wanted."""
        seen = 0
        with trio.fail_after(WAIT_SECONDS_MAX):
            while not wanted(shown := await self.job(job)):
                seen = await self.ports.export_leases.wait_changed(seen)
        return shown

    async def ended(self, job: JobId) -> ExportJob:
        return await self.until(job, lambda shown: shown.status.ended)

    async def idle(self) -> None:
        """Wait until this engine works on nothing."""
        with trio.fail_after(WAIT_SECONDS_MAX):
            while self.supervisor.statistics().jobs_running:
                await trio.sleep(0.1)  # virtual

    async def parts(self, job: JobId) -> list[FinalizedPart]:
        return list(await self.ports.export_jobs.parts(ACME, job))

    async def files(self, job: JobId) -> dict[str, bytes]:
        """The bytes of every recorded file, by type and index."""
        files: dict[str, bytes] = {}
        for part in await self.parts(job):
            assert part.file is not None
            async with self.ports.outputs.read_part(part.file) as reader:
                data = bytearray()
                while block := await reader.read():
                    data += block
            files[f"{part.kind}/{part.type}-{part.index}"] = bytes(data)
        return files

    async def stray_files(self) -> list[str]:
        """Names in the output store that no job has recorded."""
        stray: list[str] = []
        for tenant, job in await self.ports.outputs.jobs():
            view = await self.ports.export_upkeep.find(job)
            recorded = (
                {part.file.location for part in view.recorded if part.file} if view else set()
            )
            names = await self.ports.outputs.names(tenant, job)
            stray += [name.location for name in names if name.location not in recorded]
        return stray


class Plant:
    """What is kept."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.clock = VirtualClock()
        self.entropy = SeededEntropy(7)
        self._folder = folder
        self.world = MemoryWorld(
            clock=self.clock, new_key=lambda: self.entropy.token(64), new_id=self.entropy.token
        )

    @asynccontextmanager
    async def ports(self, worker: str) -> AsyncIterator[Ports]:
        """The place as this worker has it open; after the block the worker is dead."""
        if self.kind == "memory":
            async with open_memory(self.world, worker=WorkerId(worker)) as memory:
                yield self._ports(memory, memory.outputs)
            assert list(memory.process.open_things()) == []
        else:
            async with (
                backends.open(
                    f"sqlite:{self._folder / 'data'}",
                    worker=WorkerId(worker),
                    clock=self.clock,
                    inline=True,
                ) as sqlite,
                open_files(
                    self._folder / "output", doors=FilesDoors.inline(), free_bytes_min=0
                ) as files,
            ):
                yield self._ports(sqlite, files)
                statistics = files.statistics()
                assert (statistics.open_sinks, statistics.open_readers) == (0, 0)

    def _ports(self, backend: backends.Backend, outputs: object) -> Ports:
        return backend.ports(outputs, clock=self.clock, entropy=self.entropy)

    @asynccontextmanager
    async def engine(
        self, worker: str = "w1", *, limits: EngineLimits = LIMITS, wrap: Wrap = lambda ports: ports
    ) -> AsyncIterator[Engine]:
        """An engine at work. `wrap` may put something between it and its ports."""
        async with self.ports(worker) as ports:
            await ports.tenants.ensure(ACME)
            supervisor = Supervisor(wrap(ports), WorkerId(worker), limits)
            async with trio.open_nursery() as nursery:
                await nursery.start(supervisor.run)
                yield Engine(ports, supervisor, limits, nursery.cancel_scope)
                nursery.cancel_scope.cancel()


def with_limits(**changes: float) -> EngineLimits:
    """The usual limits of these tests, some changed."""
    import msgspec

    return msgspec.structs.replace(LIMITS, **changes)
