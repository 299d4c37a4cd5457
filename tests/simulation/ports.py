"""The ports of one worker, each call behind its gate."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from backends.memory import MemoryBackend
from engine.model import (
    Batch,
    ExportRequest,
    Lease,
    Part,
    PartEnd,
    PartKey,
    Snapshot,
    StoredFile,
)
from engine.ports import OutputStore, PartReader, PartSink, PartStream, Ports, Tenants, TenantStore
from engine.tenant import Tenant, TenantId
from tests.simulation.gate import Gate

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


def gated_ports(backend: MemoryBackend, worker: "Worker") -> Ports:
    """What the engine of one worker is given."""
    gate = worker.gate()
    return Ports(
        tenants=GatedTenants(backend.tenants, gate, worker.part_bytes),
        export_jobs=Gated(backend.export_jobs, gate, "jobs"),
        export_leases=Gated(backend.export_leases, gate, "leases"),
        export_work=Gated(backend.export_work, gate, "work"),
        export_upkeep=Gated(backend.export_upkeep, gate, "upkeep"),
        store_works=Gated(backend.store_works, gate, "works"),
        work_leases=Gated(backend.work_leases, gate, "work_leases"),
        outputs=GatedOutputs(backend.outputs, gate),
        clock=worker.clock,
        entropy=worker.entropy,
    )


class Gated:
    """A port whose methods are all plain calls."""

    def __init__(self, inner: Any, gate: Gate, name: str) -> None:
        self._inner = inner
        self._gate = gate
        self._name = name

    def __getattr__(self, method: str) -> Any:
        inner = getattr(self._inner, method)
        op = f"{self._name}.{method}"

        async def call(*args: Any, **options: Any) -> Any:
            about = _about(args[0]) if args else ""
            return await self._gate.call(op, lambda: inner(*args, **options), about)

        # Found directly from now on: this is the simulation's hottest path.
        self.__dict__[method] = call
        return call


def _about(argument: object) -> str:
    """What a call is about, for the trace."""
    match argument:
        case Lease(job=job, token=token):
            return f"{job[:6]} token {token}"
        case str():
            return argument[:6]
    return ""


class GatedTenants:
    """Tenants whose stores are behind the gate too."""

    def __init__(self, inner: Tenants, gate: Gate, part_bytes: int) -> None:
        self._inner = inner
        self._gate = gate
        self._part_bytes = part_bytes

    async def get(self, tenant: TenantId) -> Tenant:
        return await self._gate.call("tenants.get", lambda: self._inner.get(tenant))

    async def ensure(self, tenant: TenantId) -> Tenant:
        return await self._gate.call("tenants.ensure", lambda: self._inner.ensure(tenant))

    async def list(self) -> Sequence[Tenant]:
        return await self._gate.call("tenants.list", self._inner.list)

    async def store(self, tenant: TenantId) -> "GatedStore":
        store = await self._gate.call("tenants.store", lambda: self._inner.store(tenant))
        return GatedStore(store, self._gate, self._part_bytes)


class GatedStore(Gated):
    """One tenant's store. Parts are small, as the resources are."""

    def __init__(self, inner: TenantStore, gate: Gate, part_bytes: int) -> None:
        super().__init__(inner, gate, "store")
        self._part_bytes = part_bytes

    async def plan(
        self, request: ExportRequest, snapshot: Snapshot, part_bytes: int
    ) -> tuple[Part, ...]:
        plan = self._inner.plan
        return await self._gate.call(
            "store.plan", lambda: plan(request, snapshot, self._part_bytes)
        )

    @asynccontextmanager
    async def stream(
        self, part: Part, request: ExportRequest, snapshot: Snapshot
    ) -> AsyncIterator["GatedStream"]:
        await self._gate.before("store.stream", f"{part.type}-{part.index}")
        async with self._inner.stream(part, request, snapshot) as stream:
            yield GatedStream(stream, self._gate)


class GatedStream:
    def __init__(self, inner: PartStream, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def read(self) -> Batch | PartEnd:
        return await self._gate.call("store.read", self._inner.read)


class GatedOutputs(Gated):
    """The output store: its sinks and readers are behind the gate too."""

    _inner: OutputStore

    def __init__(self, inner: OutputStore, gate: Gate) -> None:
        super().__init__(inner, gate, "outputs")

    @asynccontextmanager
    async def open_part(self, key: PartKey) -> AsyncIterator["GatedSink"]:
        about = f"{key.job[:6]} {key.type}-{key.index} token {key.token}"
        await self._gate.before("outputs.open_part", about)
        self._gate.observer.part_begun(key)
        async with self._inner.open_part(key) as sink:
            yield GatedSink(sink, self._gate, key, about)

    @asynccontextmanager
    async def read_part(
        self, file: StoredFile, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator["GatedReader"]:
        await self._gate.before("outputs.read_part")
        async with self._inner.read_part(file, start=start, stop=stop) as reader:
            yield GatedReader(reader, self._gate)


class GatedSink:
    def __init__(self, inner: PartSink, gate: Gate, key: PartKey, about: str) -> None:
        self._inner = inner
        self._gate = gate
        self._key = key
        self._about = about

    async def append(self, batch: Batch) -> None:
        await self._gate.call("sink.append", lambda: self._append(batch), self._about)

    async def finalize(self) -> StoredFile:
        return await self._gate.call("sink.finalize", self._inner.finalize, self._about)

    async def _append(self, batch: Batch) -> None:
        self._gate.observer.part_touched(self._key, self._gate.worker)
        await self._inner.append(batch)


class GatedReader:
    def __init__(self, inner: PartReader, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def read(self) -> bytes:
        return await self._gate.call("reader.read", self._inner.read)
