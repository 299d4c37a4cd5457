"""Simulation: the real engine, several workers, one world in memory, virtual time.

    storm   until the horizon: clients write and export, faults happen everywhere
    calm    no new faults: every open job must end, and the chains must close
    dusk    zombies wake and do what harm they can; workers drain; the janitor runs
    dawn    what is left is judged

All of it follows from the seed: the same seed gives the same trace, in any process.
"""

import gzip
import logging
import random
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import structlog
import trio
import trio.testing

from backends.memory import MemoryWorld, open_memory
from backends.memory.state import JobRow, StoreState
from engine.errors import PenstockError
from engine.model import ExportStatus, WorkerId
from engine.ports import TenantStore
from engine.tenant import TenantId
from engine.upkeep.janitor import Janitor
from tests.simulation.bugs import BUGS
from tests.simulation.clients import Exporting, Following, Writing
from tests.simulation.gate import Faults
from tests.simulation.observer import Observer, WatchedFiles, WatchedPins
from tests.simulation.scenario import draw_scenario
from tests.simulation.truth import Truth
from tests.simulation.worker import SimClock, SimEntropy, SimStoreClock, Worker
from tests.support.scheduling import deterministic_scheduling


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to."""

    seed: int
    broken: list[str]
    digest: str  # of the trace
    faults: dict[str, int]
    virtual_s: float
    jobs: int
    completed: int
    resumed: int  # completed with parts of more than one lease
    links: int  # of `_since` chains
    trace: list[str]


def simulate(seed: int, *, bug: str | None = None, verbose: bool = False) -> Outcome:
    """Run one seed."""
    sim = Simulation(seed, keep_trace=verbose)
    clock = trio.testing.MockClock(autojump_threshold=0)
    with ExitStack() as stack:
        stack.enter_context(deterministic_scheduling(seed))
        stack.enter_context(captured_logs(sim))
        if bug is not None:
            stack.enter_context(BUGS[bug].planted(sim))
        trio.run(sim.run, clock=clock)
    return sim.outcome()


@contextmanager
def captured_logs(sim: "Simulation") -> Iterator[None]:
    """The engine's log goes into the trace that people read, and not into its hash."""
    level = logging.DEBUG if sim.keeps_trace else logging.CRITICAL
    structlog.configure(
        processors=[structlog.processors.format_exc_info, sim.log],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


class Simulation:
    """One run of one seed."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.scenario = draw_scenario(seed)
        self.rng = random.Random(f"world {seed}")
        self.faults = Faults(seed, self.scenario.rates)
        self.observer = Observer(self)
        self.store_clock = SimStoreClock()
        self.world = self._make_world()
        self.truth = Truth(self.world)
        self.tenants = [TenantId(f"tenant-{n}") for n in range(self.scenario.tenants)]
        self.workers: list[Worker] = []  # every incarnation there ever was
        self.cut_short = False
        self.volatile_s = 0.0  # for so long a finished file would not survive a power cut
        self._followers = [Following(self, tenant) for tenant in self.tenants]
        self._by_name: dict[str, Worker] = {}
        self._clients_scope = trio.CancelScope()
        self._ending = False
        self._scope = trio.CancelScope()
        self._digest = blake2b(digest_size=16)
        self._trace: list[str] | None = [] if keep_trace else None
        self._virtual_s = 0.0

    def _make_world(self) -> MemoryWorld:
        entropy, scenario = SimEntropy(random.Random(f"keys {self.scenario.seed}")), self.scenario
        world = MemoryWorld(
            clock=self.store_clock,
            new_key=lambda: entropy.token(64),
            new_id=lambda: entropy.token(64),
            batch_rows=lambda: self.rng.choice((0, 1, 2, 3, 5, 8)),
            piece_bytes_max=scenario.piece_bytes,
        )
        world.files = WatchedFiles(self.observer)
        return world

    # What workers, clients and the observer ask.

    @property
    def calm(self) -> bool:
        return self.faults.quiet

    def some_worker(self) -> Worker | None:
        """Whom the load balancer picks."""
        serving = [worker for worker in self._by_name.values() if worker.serving]
        return self.rng.choice(serving) if serving else None

    def is_alive(self, name: str) -> bool:
        worker = self._by_name.get(name)
        return worker is not None and not worker.dead

    def is_healthy(self, name: str) -> bool:
        """Whether it lives and never met a fault that could excuse anything."""
        worker = self._by_name.get(name)
        return worker is not None and not worker.dead and not worker.blamed

    def skew_ms(self, name: str) -> int:
        worker = self._by_name.get(name)
        return 0 if worker is None else worker.clock.skew_ms

    def store_state(self, tenant: TenantId) -> StoreState:
        return self.world.tenants[tenant].store

    async def quiet_store(self, tenant: TenantId) -> TenantStore:
        return await self._quiet.tenants.store(tenant)

    def decoded(self, data: bytes, coding: str) -> bytes:
        return gzip.decompress(data) if coding else data

    def trace(self, who: str, op: str, about: str, outcome: str) -> None:
        line = f"{trio.current_time():12.6f} {who:10} {op:20} {about:24} {outcome}"
        self._digest.update(line.encode())
        if self._trace is not None:
            self._trace.append(line)

    @property
    def keeps_trace(self) -> bool:
        return self._trace is not None

    def log(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """A structlog processor, the last one."""
        if self._trace is not None:
            self._trace.append(f"{trio.current_time():12.6f} log {name} {event}")
        return ""

    def stop(self) -> None:
        """A promise is broken: there is no use in going on."""
        self.cut_short = True
        self._scope.cancel()

    # The run.

    async def run(self) -> None:
        with self._scope:
            async with open_memory(self.world, worker=WorkerId("world")) as backend:
                self.observer.watch_process(backend.process)
                self._quiet = backend
                for tenant in self.tenants:
                    await backend.tenants.ensure(tenant)
                    self.store_state(tenant).pins = WatchedPins(self.observer)
                    await Writing(self, tenant).fill()
                async with trio.open_nursery() as nursery:
                    for slot in range(self.scenario.slots):
                        nursery.start_soon(self._keep_slot, slot)
                    nursery.start_soon(self._chaos)
                    await self._serve_clients()
                    nursery.cancel_scope.cancel()
                await self._clean_up()
                self._judge()
        self._virtual_s = trio.current_time()

    async def _serve_clients(self) -> None:
        async with trio.open_nursery() as clients:
            for tenant, follower in zip(self.tenants, self._followers, strict=True):
                clients.start_soon(Writing(self, tenant).run)
                clients.start_soon(follower.run)
                for _ in range(self.scenario.kickoffs):
                    clients.start_soon(Exporting(self, tenant).run)
            await trio.sleep(self.scenario.horizon_s)
            self._calm_down()
            await self._wait_all_ended()
            with trio.move_on_after(60 * self.scenario.lease_s) as limit:
                while any(not follower.closed for follower in self._followers):
                    await trio.sleep(1.0)
            if limit.cancelled_caught:
                self.observer.breach("a chain of exports did not close after the faults stopped")
            clients.cancel_scope.cancel()
        # Zombies get their while, then everybody is told to go.
        wakes = max((worker.paused_until for worker in self._by_name.values()), default=0.0)
        await trio.sleep_until(max(wakes, trio.current_time()) + self.scenario.lease_s)
        await self._wait_all_ended()  # a kick-off may have hung on a zombie until now
        self._ending = True
        await self._drain_all()

    def _calm_down(self) -> None:
        self.trace("world", "calm", "", "")
        self.faults.quiet = True

    async def _wait_all_ended(self) -> None:
        """Liveness: with healed workers every open job ends."""
        with trio.move_on_after(60 * self.scenario.lease_s) as limit:
            while any(not row.status.ended for row in self.world.jobs.values()):
                await trio.sleep(1.0)
        if limit.cancelled_caught:
            self.observer.breach("a job did not end after the faults had stopped")

    async def _drain_all(self) -> None:
        for worker in self._by_name.values():
            if not worker.dead:
                worker.drain()
        limits = self.scenario.limits
        with trio.move_on_after(limits.drain_seconds + limits.commit_seconds + 60) as limit:
            while self._by_name:
                await trio.sleep(0.25)
        if limit.cancelled_caught:
            self.observer.breach("a worker did not drain")

    async def _keep_slot(self, slot: int) -> None:
        """One worker at a time, started again some while after it ended."""
        number = 0
        while not self._ending:
            number += 1
            worker = Worker(self, f"w{slot}.{number}")
            self.workers.append(worker)
            self._by_name[worker.name] = worker
            self.trace(worker.name, "starts", "", "")
            try:
                await worker.run()
            except Exception as error:
                self.observer.breach(f"{worker.name} ended by {_described(error)}")
            del self._by_name[worker.name]
            rest = self.rng.choice((0.01, 0.2, 1.5)) * self.scenario.lease_s
            await trio.sleep(rest * self.rng.random())

    async def _chaos(self) -> None:
        """Faults that come from outside, not at a call."""
        scenario, rng = self.scenario, self.faults.rng
        kinds = (
            ["power"] * scenario.power_cuts
            + ["drain"] * scenario.drains
            + ["step"] * scenario.clock_steps
        )
        times = sorted((rng.uniform(0, scenario.horizon_s), kind) for kind in kinds)
        for at, kind in times:
            await trio.sleep_until(at)
            self.faults.count(kind)
            self.trace("world", kind, "", "")
            match kind:
                case "power":
                    self._cut_power()
                case "drain":
                    if worker := self.some_worker():
                        worker.drain()
                case _:
                    reach_s = rng.choice((0.002, 5, 4000))
                    self.store_clock.stepped_ms += round(rng.uniform(-1, 1) * reach_s * 1000)

    def _cut_power(self) -> None:
        """Every process dies, unfinished files are gone, and the machine boots again."""
        for worker in list(self._by_name.values()):
            worker.die()
        volatile_ms = self.store_clock.now_ms() - self.volatile_s * 1000
        for name, file in list(self.world.files.items()):
            if not file.finished or (self.volatile_s and file.touched_ms > volatile_ms):
                dict.__delitem__(self.world.files, name)
        self.store_clock.reboot()

    async def _clean_up(self) -> None:
        """What the janitor of a healthy worker does once all grace has passed."""
        limits = self.scenario.limits
        await trio.sleep(limits.file_orphan_seconds + limits.lease_seconds + 1)
        self.store_clock.stepped_ms += 3 * 3600 * 1000  # no step back keeps a file young
        async with open_memory(self.world, worker=WorkerId("last")) as backend:
            self.observer.watch_process(backend.process)
            worker = Worker(self, "last")
            ports = backend.ports(
                backend.outputs, clock=SimClock(worker, 0.0, 0.0), entropy=worker.entropy
            )
            for _ in range(2):
                await Janitor(ports, limits).round()

    def _judge(self) -> None:
        """What is left at the end is what should be left."""
        wanted: set[str] = set()
        for row in self.world.jobs.values():
            if not row.status.ended:
                self.observer.breach(f"job {row.id[:6]} is {row.status} at the end")
            if row.status is ExportStatus.COMPLETE and not row.deleted and not row.purged:
                for problem in self.truth.check_manifest(row):
                    self.observer.breach(f"at the end of job {row.id[:6]} {problem}")
                wanted |= {part.file.location for part in row.parts.values() if part.file}
            if row.issue is not None and not self._is_excused(row):
                self.observer.breach(f"job {row.id[:6]} failed: {row.issue.diagnostics}")
        for name in sorted(self.world.files.keys() - wanted):
            self.observer.breach(f"the file {name} is left over")
        for tenant in self.tenants:
            for job in self.store_state(tenant).pins:
                self.observer.breach(f"the pin of {job[:6]} is left over")

    def _is_excused(self, row: JobRow) -> bool:
        """Whether a job may fail: its workers died too often, or it lost its pin early."""
        assert row.issue is not None
        if "start the export again" in row.issue.diagnostics and row.id in self.observer.unpinned:
            return True
        return f"given up after {self.scenario.limits.attempts_max}" in row.issue.diagnostics

    def outcome(self) -> Outcome:
        return Outcome(
            seed=self.scenario.seed,
            broken=self.observer.broken,
            digest=self._digest.hexdigest(),
            faults=self.faults.counts,
            virtual_s=self._virtual_s,
            jobs=self.observer.jobs,
            completed=self.observer.completed,
            resumed=self.observer.resumed,
            links=sum(follower.links for follower in self._followers),
            trace=self._trace or [],
        )


def _described(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = "" if where is None else f" at {where.tb_frame.f_code.co_name}:{where.tb_lineno}"
    kind = "" if isinstance(error, PenstockError) else " (a defect)"
    return f"{type(error).__name__}: {error}{place}{kind}"
