"""Gate: stands before and behind every call of one worker to the world, and does harm.

A killed worker meets `Killed`, which is no Exception, at its next call: its clean-up code
can touch nothing any more, which is what makes a kill within one process honest.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import trio

from engine.errors import OutputFull, OutputUnavailable, StoreUnavailable
from tests.simulation.scenario import HOT_FACTOR, HOT_SPOTS

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

T = TypeVar("T")

BEFORE = ("kill", "pause", "stall", "refuse", "slow", "cut")
BEHIND = ("kill", "pause", "stall", "lose")

SLOW_SECONDS = 2.0

DATA = frozenset({"store.read", "sink.append"})

# Once these have happened they are reported, cancelled or not (see their ports).
REPORTED = frozenset({"leases.claim", "sink.finalize"})


class Killed(BaseException):
    """The worker that made this call was killed."""


class Faults:
    """Draws what happens at a call. Quiet once the horizon has passed."""

    def __init__(self, seed: int, rates: dict[str, float]) -> None:
        self.rng = random.Random(f"faults {seed}")
        self.quiet = False
        self.counts: dict[str, int] = {}
        self._tables = {
            (kinds, hot): self._table(kinds, rates, HOT_FACTOR if hot else 1)
            for kinds in (BEFORE, BEHIND)
            for hot in (False, True)
        }

    def draw(self, kinds: tuple[str, ...], op: str) -> str | None:
        """A kind of fault, or none as for most calls."""
        if self.quiet:
            return None
        lot = self.rng.random()
        for bound, kind in self._tables[kinds, op in HOT_SPOTS]:
            if lot < bound:
                self.count(kind)
                return kind
        return None

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    @staticmethod
    def _table(
        kinds: tuple[str, ...], rates: dict[str, float], factor: int
    ) -> list[tuple[float, str]]:
        table, bound = [], 0.0
        for kind in kinds:
            if kind in rates:
                bound += rates[kind] * factor
                table.append((bound, kind))
        return table


class Gate:
    """The way of one worker to the world."""

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker
        self._sim = worker.sim
        self._faults = worker.sim.faults
        self.observer = worker.sim.observer

    async def call(self, op: str, function: Callable[[], Awaitable[T]], about: str = "") -> T:
        """Make the call, or do harm instead, before or behind it."""
        await self.before(op, about)
        result = await function()
        await self.behind(op, about)
        return result

    async def before(self, op: str, about: str = "") -> None:
        """What happens before the world hears of the call."""
        worker = self.worker
        worker.require_life()
        await worker.wait_awake()
        fault = self._faults.draw(BEFORE, op)
        worker.note(op, about, fault or "")
        match fault:
            case "kill":
                worker.die()
                worker.require_life()
            case "pause":
                await worker.pause()
            case "stall":
                await self._stall(shield=False)
            case "slow":
                await self._wait(self._faults.rng.uniform(0, SLOW_SECONDS), shield=False)
            case "cut":
                worker.cut(op)
            case "refuse":
                self._refuse(op)
        if worker.is_cut_off(op):
            await trio.lowlevel.checkpoint()
            self._refuse(op)
        await self._take_time(op)

    async def behind(self, op: str, about: str = "") -> None:
        """What happens to the answer."""
        worker = self.worker
        worker.require_life()
        fault = self._faults.draw(BEHIND, op)
        if fault is not None:
            worker.note(op, about, f"done, {fault}")
        match fault:
            case "kill":
                worker.die()
                worker.require_life()
            case "pause":
                await worker.pause()
            case "stall":
                await self._stall(shield=op in REPORTED)
            case "lose":
                self._refuse(op)
        await worker.wait_awake()

    async def _take_time(self, op: str) -> None:
        scenario, rng = self._sim.scenario, self._sim.rng
        if rng.random() < scenario.latency_rate * (2 if op in HOT_SPOTS else 1):
            slow_s = scenario.slow_data_s if op in DATA else 0.0
            await self._wait(rng.uniform(0.001, max(slow_s, scenario.latency_s)), shield=False)

    async def _stall(self, *, shield: bool) -> None:
        """This one call hangs, and the rest of the worker goes on."""
        self.worker.blame()
        lease_s = self._sim.scenario.lease_s
        await self._wait(self._faults.rng.uniform(0.2, 1.5) * lease_s, shield=shield)

    async def _wait(self, seconds: float, *, shield: bool) -> None:
        with trio.move_on_after(seconds, shield=shield):
            await self.worker.died.wait()
        self.worker.require_life()

    def _refuse(self, op: str) -> NoReturn:
        self.worker.blame()
        if op.startswith(("outputs.", "sink.", "reader.")):
            if self._faults.rng.random() < 0.3:
                raise OutputFull("no space is left for output files")
            raise OutputUnavailable("simulated: no answer")
        raise StoreUnavailable("simulated: no answer")
