"""Clients: they write, export, cancel, delete, and follow a tenant by a chain of exports.

A client reaches whatever worker is up, as through a load balancer, and may never learn
what became of its request.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from engine.errors import Conflict, NotFound, OutputUnavailable, TooMany, Transient
from engine.export.kickoff import kick_off
from engine.messages import CancelJob, Wake
from engine.model import ExportJob, ExportRequest, ExportStatus, Issue, JobId, Prepared
from engine.ports import TenantStore
from engine.tenant import TenantId
from tests.simulation.gate import Killed
from tests.simulation.truth import live_at
from tests.support.builders import prepared

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation
    from tests.simulation.worker import Worker

T = TypeVar("T")

NO_ANSWER = (Killed, Transient, TooMany, Conflict, NotFound, OutputUnavailable)
_KEY = re.compile(rb'"resourceType":"(\w+)","id":"([^"]+)"')


class Client:
    """What all clients do."""

    def __init__(self, sim: "Simulation", tenant: TenantId) -> None:
        self.sim = sim
        self.tenant = tenant
        self.rng = sim.rng

    async def ask(self, request: Callable[["Worker"], Awaitable[T]]) -> T | None:
        """The answer of some worker; None if there was none, whatever happened."""
        worker = self.sim.some_worker()
        if worker is None:
            return None
        try:
            return await request(worker)
        except NO_ANSWER:
            return None

    async def kick_off(self, request: ExportRequest) -> ExportJob | None:
        async def start(worker: "Worker") -> ExportJob:
            assert worker.ports is not None and worker.supervisor is not None
            limits = self.sim.scenario.limits
            job = await kick_off(worker.ports, limits, self.tenant, request)
            worker.supervisor.tell(Wake())
            return job

        return await self.ask(start)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds * self.rng.uniform(0.5, 1.5) + 0.001)


class Writing(Client):
    """Writes until the horizon: few ids, so that most writes meet an older version."""

    async def fill(self) -> None:
        """What the tenant had before anything else happened."""
        store = await self.sim.quiet_store(self.tenant)
        for _ in range(self.sim.scenario.resources):
            await store.update(self._resource())

    async def run(self) -> None:
        while not self.sim.calm:
            await self.sleep(self.sim.scenario.write_gap_s)
            await self.ask(self._write)

    async def _write(self, worker: "Worker") -> None:
        assert worker.ports is not None
        store = await worker.ports.tenants.store(self.tenant)
        for _ in range(self.rng.choice((1, 1, 3))):
            await self._write_one(store)

    async def _write_one(self, store: TenantStore) -> None:
        resource = self._resource()
        match self.rng.choice(("create", "update", "update", "delete", "ingest")):
            case "create":
                await store.create(resource)
            case "update":
                await store.update(resource)
            case "delete":
                await store.delete(resource.type, resource.id)
            case _:
                await store.ingest([self._resource() for _ in range(self.rng.randint(1, 4))])

    def _resource(self) -> Prepared:
        scenario = self.sim.scenario
        type = self.rng.choice(scenario.types)
        id = f"{type[0].lower()}{self.rng.randrange(scenario.ids)}"
        text = f"{self.tenant} {self.rng.getrandbits(32):x} ".ljust(scenario.body_bytes, ".")
        return prepared(type, id, b'"text":"%b"' % text.encode())


class Exporting(Client):
    """Kicks off one export of some shape, and may cancel or delete it."""

    async def run(self) -> None:
        scenario = self.sim.scenario
        await trio.sleep(self.rng.uniform(0, scenario.horizon_s * 0.8))
        job = await self.kick_off(self._request())
        if job is None or self.rng.random() < 0.4:
            return
        match self.rng.choice(("nearly done", "begun", "any time")):
            case "nearly done":
                await self.sim.observer.wait_nearly_done(job.id)
            case "begun":
                await self.sim.observer.wait_begun(job.id)
            case _:
                await trio.sleep(self.rng.random() * scenario.lease_s / 2)
        await trio.sleep(self.rng.choice((0.0, scenario.latency_s)) * self.rng.random())
        await self.ask(lambda worker: self._end(worker, job.id))

    async def _end(self, worker: "Worker", job: JobId) -> None:
        assert worker.ports is not None and worker.supervisor is not None
        if self.rng.random() < 0.6:
            await worker.ports.export_jobs.cancel(self.tenant, job)
        else:
            await worker.ports.export_jobs.delete(self.tenant, job)
        worker.supervisor.tell(CancelJob(job))

    def _request(self) -> ExportRequest:
        types = self.sim.scenario.types
        times = [row.version.updated_ms for row in self.sim.store_state(self.tenant).rows]
        return ExportRequest(
            types=() if self.rng.random() < 0.5 else tuple(self.rng.sample(types, 1)),
            since_ms=self.rng.choice(times) if times and self.rng.random() < 0.3 else None,
            until_ms=self.rng.choice(times) if times and self.rng.random() < 0.2 else None,
            issues=(Issue(severity="warning", diagnostics="ignored"),)
            if self.rng.random() < 0.3
            else (),
        )


class Following(Client):
    """Keeps a copy of a tenant by exports with `_since`, and compares it at the end."""

    def __init__(self, sim: "Simulation", tenant: TenantId) -> None:
        super().__init__(sim, tenant)
        self.copy: dict[tuple[str, str], bytes] = {}
        self.since_ms: int | None = None
        self.links = 0
        self.closed = False

    async def run(self) -> None:
        """Until one export was begun after the faults stopped."""
        last = False
        while not last:
            await self.sleep(self.sim.scenario.lease_s * (0.1 if self.sim.calm else 0.8))
            last = await self._follow() and self.sim.calm
        self._compare()
        self.closed = True

    async def _follow(self) -> bool:
        """One link of the chain: whether it was an export begun in calm, or any in storm."""
        begun_calm = self.sim.calm
        job = await self.kick_off(ExportRequest(since_ms=self.since_ms))
        if job is None:
            return False
        ended = await self._wait_end(job.id)
        if ended is None or ended.status is not ExportStatus.COMPLETE:
            return False
        lines = await self._download(ended)
        if lines is None:
            return False
        self._apply(lines)
        self.since_ms = ended.snapshot.t_ms
        self.seq = ended.snapshot.seq
        self.links += 1
        return begun_calm or not self.sim.calm

    async def _wait_end(self, job: JobId) -> ExportJob | None:
        while True:
            await self.sleep(self.sim.scenario.lease_s / 8)
            state = await self.ask(lambda worker: self._get(worker, job))
            if state is not None and state.status.ended:
                return state
            if state is None and job not in self.sim.world.jobs:
                return None

    async def _get(self, worker: "Worker", job: JobId) -> ExportJob:
        assert worker.ports is not None
        return await worker.ports.export_jobs.get(self.tenant, job)

    async def _download(self, job: ExportJob) -> list[bytes] | None:
        """The lines of all files; None if they expired before they could be read."""
        while True:
            lines = await self.ask(lambda worker: self._read_all(worker, job))
            row = self.sim.world.jobs.get(job.id)
            if lines is not None or row is None or row.purged:
                return lines
            await self.sleep(0.5)

    async def _read_all(self, worker: "Worker", job: ExportJob) -> list[bytes] | None:
        assert worker.ports is not None
        data = b""
        parts = await worker.ports.export_jobs.parts(self.tenant, job.id)
        for part in parts:
            assert part.file is not None
            async with worker.ports.outputs.read_part(part.file) as reader:
                stored = b""
                while block := await reader.read():
                    stored += block
            data += self.sim.decoded(stored, part.file.coding)
        row = self.sim.world.jobs.get(job.id)
        if row is None or row.purged:
            return None  # its files expired meanwhile
        return data.splitlines(keepends=True)

    def _apply(self, lines: list[bytes]) -> None:
        for line in lines:
            match = _KEY.search(line)
            assert match is not None
            self.copy[match[1].decode(), match[2].decode()] = line

    def _compare(self) -> None:
        """The copy is the store as it was, but for what was deleted."""
        live = live_at(self.sim.store_state(self.tenant), self.seq)
        for key, version in live.items():
            assert version.body is not None
            if self.copy.get(key) != version.body + b"\n":
                self.sim.observer.breach(f"a chain of exports missed {key[0]}/{key[1]}")
        # Deleted resources stay in the copy: deletions are not exported.
        gone = {row.version.id for row in self.sim.store_state(self.tenant).rows}
        assert all(key[1] in gone for key in self.copy)
