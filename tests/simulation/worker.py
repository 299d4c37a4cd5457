"""Worker: one incarnation of a process, from its start until it drains or is killed."""

import random
from typing import TYPE_CHECKING

import trio

from backends.memory import open_memory
from engine.messages import Drain
from engine.model import WorkerId
from engine.ports import Ports
from engine.supervisor import Supervisor
from tests.simulation.gate import Gate, Killed
from tests.simulation.ports import gated_ports

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

EPOCH_MS = 1_800_000_000_000


class SimEntropy:
    """Entropy from the seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def token(self, bits: int = 128) -> str:
        return f"{self._rng.getrandbits(bits):0{bits // 4}x}"

    def jitter(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)


class SimClock:
    """A worker's clocks: the wall clock is wrong, the boot time has an origin of its own."""

    def __init__(self, worker: "Worker", skew_s: float, origin_s: float) -> None:
        self._worker = worker
        self.skew_ms = round(skew_s * 1000)
        self._origin_s = origin_s

    def now_ms(self) -> int:
        return EPOCH_MS + self.skew_ms + round(trio.current_time() * 1000)

    def boottime(self) -> float:
        return trio.current_time() + self._origin_s

    async def sleep(self, seconds: float) -> None:
        # Two timers of one instant would fire in an order that memory addresses decide.
        await trio.sleep(seconds + self._worker.sim.rng.random() * 1e-6)
        await self._worker.wait_awake()


class SimStoreClock:
    """The store's clocks: the wall clock steps, the time of leases starts anew at a boot."""

    def __init__(self) -> None:
        self.stepped_ms = 0
        self.boots = 0
        self._booted_s = 0.0

    def now_ms(self) -> int:
        return EPOCH_MS + self.stepped_ms + round(trio.current_time() * 1000)

    def lease_now(self) -> int:
        return round((trio.current_time() - self._booted_s) * 1000)

    def boot_id(self) -> str:
        return f"boot {self.boots}"

    def reboot(self) -> None:
        self.boots += 1
        self._booted_s = trio.current_time()


class Worker:
    """A process: its supervisor, its ports, and what was done to it."""

    def __init__(self, sim: "Simulation", name: str) -> None:
        self.sim = sim
        self.name = WorkerId(name)
        self.dead = False
        self.died = trio.Event()
        self.paused_until = 0.0
        self.blamed = False  # met a fault, so what it leaves behind may be excused
        self.draining_since: float | None = None
        self.ports: Ports | None = None
        self.supervisor: Supervisor | None = None
        self._cut_until: dict[str, float] = {}
        self._scope = trio.CancelScope()
        rng = sim.rng
        skew_s = rng.uniform(-1, 1) * sim.scenario.skew_s
        self.clock = SimClock(self, skew_s, origin_s=rng.uniform(0, 1e6))
        self.entropy = SimEntropy(rng)
        # Settings may change with a restart: a plan that was not saved would differ.
        self.part_bytes = rng.choice((150, 300, 600, 1200))

    async def run(self) -> None:
        """Live until drained or killed. Raises what the supervisor died of by itself."""
        with self._scope:
            try:
                await self._run()
            except BaseException:
                # Whatever a dead process raises, nobody hears it.
                if not self.dead:
                    raise

    async def _run(self) -> None:
        sim = self.sim
        async with open_memory(sim.world, worker=self.name, coding=sim.scenario.coding) as backend:
            sim.observer.watch_process(backend.process)
            self._backend = backend
            self.ports = gated_ports(backend, self)
            self.supervisor = Supervisor(self.ports, self.name, sim.scenario.limits)
            await self.supervisor.run()
            sim.observer.drained(self, backend.process)

    @property
    def serving(self) -> bool:
        """Whether a client can reach it."""
        return self.ports is not None and not self.dead and self.draining_since is None

    def gate(self) -> Gate:
        """A way to the world."""
        return Gate(self)

    def note(self, op: str, about: str, outcome: str) -> None:
        self.sim.trace(self.name, op, about, outcome)

    def blame(self) -> None:
        self.blamed = True

    def require_life(self) -> None:
        """Raises Killed."""
        if self.dead:
            raise Killed(self.name)

    async def wait_awake(self) -> None:
        """Block while the whole process is paused; nothing in it moves, not even a cancel."""
        while not self.dead and self.paused_until > trio.current_time():
            with trio.move_on_at(self.paused_until, shield=True):
                await self.died.wait()
        self.require_life()

    async def pause(self) -> None:
        """Stop the whole process, for longer than a lease more often than not."""
        seconds = self.sim.faults.rng.uniform(0.3, 3.0) * self.sim.scenario.lease_s
        self.paused_until = max(self.paused_until, trio.current_time() + seconds)
        self.blame()
        await self.wait_awake()

    def die(self) -> None:
        """SIGKILL: at this instant, wherever it is."""
        if self.dead:
            return
        self.sim.trace(self.name, "dies", "", "")
        self.dead = True
        self.died.set()
        if self.ports is not None:
            self._leave_world()
        self._scope.cancel()

    def _leave_world(self) -> None:
        world, process = self.sim.world, self._backend.process
        if self.sim.scenario.known_deaths:
            world.kill(self.name)
        else:
            # It died on another machine: only its leases' expiry tells.
            process.dead = True
            world.processes.pop(self.name, None)

    def drain(self) -> None:
        """SIGTERM."""
        if self.supervisor is not None and self.draining_since is None:
            self.sim.trace(self.name, "drains", "", "")
            self.draining_since = trio.current_time()
            self.supervisor.tell(Drain())

    def cut(self, op: str) -> None:
        """Lose the way to one part of the world for a while."""
        prefix = op.split(".")[0]
        seconds = self.sim.faults.rng.uniform(0.1, 2.0) * self.sim.scenario.lease_s
        self._cut_until[prefix] = trio.current_time() + seconds

    def is_cut_off(self, op: str) -> bool:
        if not self._cut_until or self.sim.faults.quiet:
            return False
        return self._cut_until.get(op.split(".")[0], 0.0) > trio.current_time()
