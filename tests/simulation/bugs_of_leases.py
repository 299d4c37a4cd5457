"""Planted bugs: fences, tokens, leases, attempts, the end of a job."""

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from backends.memory import leases, work
from backends.memory.leases import MemoryLeases
from backends.memory.state import HeldLease
from backends.memory.work import MemoryExportWork
from engine.errors import JobCancelled, LeaseLost
from engine.export.settle import Settlement
from engine.lease import LeaseKeeper
from engine.model import ExportStatus, FinalizedPart
from tests.simulation.ports import Gated

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

from tests.simulation.mutation import Garden, bug

# Fences and leases.


@bug
def no_fence(sim: "Simulation", garden: Garden) -> None:
    """Whoever asks may record, finish and fail, as long as the job is in progress."""

    def held(world: Any, lease: Any) -> Any:
        row = world.jobs.get(lease.job)
        if row is None or row.status is not ExportStatus.IN_PROGRESS:
            raise JobCancelled("the export ended")
        return row

    garden.replace(work, "held", held)
    garden.replace(work, "renewed", held)


@bug
def exists_fence(sim: "Simulation", garden: Garden) -> None:
    """The lease is checked by one statement, and the part inserted by the next."""

    async def record_part(self: Gated, lease: Any, part: FinalizedPart) -> None:
        inner = self._inner

        def insert() -> None:
            row = inner._world.jobs[lease.job]
            row.parts[part.number] = part

        await self._gate.call("work.record_part", lambda: _look(inner, lease))
        await self._gate.call("work.record_part", lambda: inner._process.effect(insert))

    async def _look(inner: Any, lease: Any) -> None:
        await inner._process.look(lambda: work.held(inner._world, lease))

    garden.add(Gated, "record_part", record_part)


@bug
def worker_clock(sim: "Simulation", garden: Garden) -> None:
    """Leases expire by the clocks of the workers, which differ."""
    claimer: list[str] = []
    alive = leases.lease_alive
    claim = MemoryLeases._claim

    def skew_ms(worker: str) -> int:
        return sim.skew_ms(worker)

    def held_from_now(clock: Any, worker: Any, seconds: float) -> HeldLease:
        expires = clock.lease_now() + skew_ms(worker) + round(seconds * 1000)
        return HeldLease(worker, clock.boot_id(), expires)

    def lease_alive(world: Any, row: Any) -> bool:
        if not claimer or row.lease is None:
            return alive(world, row)
        by_store = row.lease
        expires = by_store.expires - skew_ms(claimer[0])
        row.lease = HeldLease(by_store.worker, by_store.boot, expires)
        try:
            return alive(world, row)
        finally:
            row.lease = by_store

    def skewed_claim(self: MemoryLeases, worker: Any, seconds: float) -> Any:
        claimer.append(worker)
        try:
            return claim(self, worker, seconds)
        finally:
            claimer.clear()

    garden.replace(leases, "_held_from_now", held_from_now)
    garden.replace(leases, "lease_alive", lease_alive)
    garden.replace(MemoryLeases, "_claim", skewed_claim)


@bug
def keeper_sleeps(sim: "Simulation", garden: Garden) -> None:
    """The keeper never renews, so a healthy worker loses what takes longer than a lease."""

    async def renew(self: LeaseKeeper) -> None:
        await trio.lowlevel.checkpoint()

    garden.replace(LeaseKeeper, "_renew", renew)


@bug
def keeper_does_not_look(sim: "Simulation", garden: Garden) -> None:
    """A cancel is noticed at the next renewal only."""

    async def blind(self: LeaseKeeper) -> None:
        await trio.sleep_forever()

    garden.replace(LeaseKeeper, "_watch", blind)
    garden.replace(LeaseKeeper, "_watch_commands", blind)


@bug
def token_stays_for_same_worker(sim: "Simulation", garden: Garden) -> None:
    """A worker that claims again gets the token that it had."""
    claim = MemoryLeases._claim
    last: dict[str, str] = {}

    def again(self: MemoryLeases, worker: Any, seconds: float) -> Any:
        lease = claim(self, worker, seconds)
        if lease is not None:
            if last.get(lease.job) == worker:
                self._world.jobs[lease.job].token -= 1
                lease = msgspec.structs.replace(lease, token=lease.token - 1)
            last[lease.job] = worker
        return lease

    garden.replace(MemoryLeases, "_claim", again)


@bug
def unfenced_release(sim: "Simulation", garden: Garden) -> None:
    """A worker that lost its lease gives back that of the next owner."""
    say = Settlement._say

    def release(self: MemoryLeases, lease: Any, delay_s: float, reason: str) -> None:
        row = self._world.jobs.get(lease.job)
        if row is not None and not row.status.ended and row.lease is not None:
            row.lease = None
            row.attempt -= 1

    async def give_back(self: Settlement, cause: Any) -> None:
        if isinstance(cause, LeaseLost):
            await self._ports.export_leases.release(self._lease)
        await say(self, cause)

    garden.replace(MemoryLeases, "_release", release)
    garden.replace(Settlement, "_say", give_back)


@bug
def release_costs_attempt(sim: "Simulation", garden: Garden) -> None:
    """A job that is given back keeps the attempt it was charged."""
    release = MemoryLeases._release

    def costly(self: MemoryLeases, lease: Any, delay_s: float, reason: str) -> None:
        row = self._world.jobs.get(lease.job)
        before = None if row is None else row.attempt
        release(self, lease, delay_s, reason)
        if row is not None and before is not None:
            row.attempt = before

    garden.replace(MemoryLeases, "_release", costly)


@bug
def drain_keeps_lease(sim: "Simulation", garden: Garden) -> None:
    """A shutdown lets its leases lapse instead of giving the jobs back."""

    async def only_when_not_draining(self: Gated, lease: Any, **options: Any) -> None:
        release = self._inner.release
        if self._gate.worker.draining_since is None:
            await self._gate.call("leases.release", lambda: release(lease, **options))

    garden.add(Gated, "release", only_when_not_draining)


@bug
def complete_overwrites_cancelled(sim: "Simulation", garden: Garden) -> None:
    """The last update asks for the token only, so a cancel is undone."""
    finish = MemoryExportWork._finish

    def careless(self: MemoryExportWork, lease: Any, retention_s: float) -> None:
        row = self._world.jobs.get(lease.job)
        if row is not None and row.status is ExportStatus.CANCELLED and row.token == lease.token:
            row.status = ExportStatus.IN_PROGRESS
        finish(self, lease, retention_s)

    garden.replace(MemoryExportWork, "_finish", careless)
