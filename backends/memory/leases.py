"""Leases of the memory backend: who may work on a job, by the store's clock.

Two rules carry everything: the token grows at every claim, and an effect happens only for
who holds the newest token of a job that is in progress.
"""

from collections.abc import Mapping
from typing import TypeVar

from backends.clock import StoreClock
from backends.memory.state import HeldLease, JobRow, MemoryWorld, Process, WorkRow
from engine.errors import JobCancelled, LeaseLost
from engine.model import ExportStatus, JobId, Lease, WorkerId

Row = TypeVar("Row", JobRow, WorkRow)


class MemoryLeases:
    """Leases, of exports."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    def _rows(self) -> "Mapping[JobId, JobRow | WorkRow]":
        return self._world.jobs

    async def claim(self, worker: WorkerId, seconds: float) -> Lease | None:
        """See Leases."""
        return await self._process.effect(lambda: self._claim(worker, seconds))

    async def heartbeat(self, lease: Lease) -> None:
        """See Leases."""
        await self._process.effect(lambda: renewed(self._world, lease))

    async def check(self, lease: Lease) -> None:
        """See Leases."""
        await self._process.look(lambda: held(self._world, lease))

    async def release(self, lease: Lease, *, delay_s: float = 0.0, reason: str = "") -> None:
        """See Leases. The holder of a job that was cancelled under it gives up the lease only."""
        await self._process.effect(lambda: self._release(lease, delay_s, reason))

    async def wait_changed(self, seen: int) -> int:
        """See Leases."""
        self._process.require_life()
        await self._process.look(lambda: None)
        return await self._world.wait_changed(seen)

    def _claim(self, worker: WorkerId, seconds: float) -> Lease | None:
        claimable = [row for row in self._rows().values() if self._is_claimable(row)]
        if not claimable:
            return None
        # The tenant that waited longest; among its jobs min() keeps the first, the oldest.
        row = min(claimable, key=lambda row: self._world.tenants[row.tenant.id].claimed)
        self._world.claims += 1
        self._world.tenants[row.tenant.id].claimed = self._world.claims
        row.status = ExportStatus.IN_PROGRESS
        row.token += 1
        row.attempt += 1
        row.reason = ""
        row.lease = _held_from_now(self._world.clock, worker, seconds)
        return Lease(
            job=row.id,
            tenant=row.tenant.id,
            worker=worker,
            token=row.token,
            attempt=row.attempt,
            seconds=seconds,
        )

    def _is_claimable(self, row: JobRow | WorkRow) -> bool:
        clock = self._world.clock
        delayed = row.claimable_boot == clock.boot_id() and clock.lease_now() < row.claimable_from
        return not row.status.ended and not delayed and not lease_alive(self._world, row)

    def _release(self, lease: Lease, delay_s: float, reason: str) -> None:
        row = self._rows().get(lease.job)
        if row is None or not _is_holder(row, lease):
            return
        row.lease = None
        if not row.status.ended:
            row.attempt -= 1
            row.reason = reason
            row.claimable_boot = self._world.clock.boot_id()
            row.claimable_from = self._world.clock.lease_now() + round(delay_s * 1000)
        self._world.changed()


class MemoryWorkLeases(MemoryLeases):
    """Leases, of works on stores."""

    def _rows(self) -> "Mapping[JobId, JobRow | WorkRow]":
        return self._world.works

    async def heartbeat(self, lease: Lease) -> None:
        """See Leases."""
        await self._process.effect(lambda: renewed_work(self._world, lease))

    async def check(self, lease: Lease) -> None:
        """See Leases."""
        await self._process.look(lambda: _required(self._world.works.get(lease.job), lease))


def held(world: MemoryWorld, lease: Lease) -> JobRow:
    """The fence: the job's row if the lease is held. Raises JobCancelled, LeaseLost."""
    return _required(world.jobs.get(lease.job), lease)


def renewed_work(world: MemoryWorld, lease: Lease) -> WorkRow:
    """The fence of works, with a renewal."""
    row = _required(world.works.get(lease.job), lease)
    row.lease = _held_from_now(world.clock, lease.worker, lease.seconds)
    return row


def _required(row: Row | None, lease: Lease) -> Row:
    if row is None or row.deleted or row.status is ExportStatus.CANCELLED:
        raise JobCancelled("the job was cancelled or deleted")
    if row.status is not ExportStatus.IN_PROGRESS or not _is_holder(row, lease):
        raise LeaseLost("another worker has the job, or it has ended")
    return row


def renewed(world: MemoryWorld, lease: Lease) -> JobRow:
    """The fence, with a renewal. A late one counts if nobody claimed in between."""
    row = held(world, lease)
    row.lease = _held_from_now(world.clock, lease.worker, lease.seconds)
    return row


def lease_alive(world: MemoryWorld, row: JobRow | WorkRow) -> bool:
    """Whether somebody may still be working on the job. At the very edge: yes."""
    if row.lease is None or row.lease.boot != world.clock.boot_id():
        return False
    return world.clock.lease_now() <= row.lease.expires and world.worker_alive(row.lease.worker)


def _is_holder(row: JobRow | WorkRow, lease: Lease) -> bool:
    return row.lease is not None and (row.token, row.lease.worker) == (lease.token, lease.worker)


def _held_from_now(clock: StoreClock, worker: WorkerId, seconds: float) -> HeldLease:
    return HeldLease(worker, clock.boot_id(), clock.lease_now() + round(seconds * 1000))
