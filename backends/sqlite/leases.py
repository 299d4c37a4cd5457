"""Leases on SQLite: who may work on which job, by the clock of the machine's boot.

A lease and a delay are milliseconds of CLOCK_BOOTTIME with the id of the boot. That clock
never steps, so a wrong wall clock can neither keep a job for ever nor give it away early.
After a reboot no lease can be alive, and a delay was only there to spare a store in
trouble: both count as past.
"""

import apsw
import trio

from backends.sqlite.control import (
    EXPORTS,
    SQL,
    Control,
    first_row,
    lease_statement,
    to_json,
    worker_ids,
)
from engine.errors import JobCancelled, LeaseLost
from engine.model import ExportStatus, JobId, Lease, WorkerId
from engine.tenant import TenantId

LOOK_SECONDS = 0.25  # between two looks for what other processes have changed


class Changed:
    """Wakes who waits for a change, whichever process made it."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._version: int | None = None  # of the file, at our last look
        self._looked_at = -LOOK_SECONDS

    async def wait(self, seen: int) -> int:
        """See Leases.wait_changed. Changes of this process wake at once, those of others
        within LOOK_SECONDS."""
        changes = self._control.changes
        await trio.lowlevel.checkpoint()
        while changes.mark <= seen:
            with trio.move_on_after(LOOK_SECONDS):
                await changes.wait()
            if changes.mark <= seen and trio.current_time() - self._looked_at >= LOOK_SECONDS:
                await self._look()
        return changes.mark

    async def _look(self) -> None:
        """Wake everybody if another connection has committed. One look serves all who wait."""
        self._looked_at = trio.current_time()
        version = await self._control.reads.read(_data_version)
        if version != self._version:
            self._version = version
            self._control.changes.wake_nowait()


class SqliteLeases:
    """See Leases. Of exports or of works: the same statements, each on its table."""

    def __init__(self, control: Control, changed: Changed, table: str) -> None:
        self._control = control
        self._changed = changed
        self._table = table

    async def claim(self, worker: WorkerId, seconds: float) -> Lease | None:
        """See Leases.claim. Cancelled: a lease that was taken is returned all the same."""
        return await self._control.writes.write(self._claim, worker, seconds)

    async def heartbeat(self, lease: Lease) -> None:
        """See Leases.heartbeat. Waits for no other work of this process."""
        await self._control.renewals.write(renew, self._control, lease, self._table)

    async def check(self, lease: Lease) -> None:
        """See Leases.check."""
        await self._control.glance(_check, lease, self._table)

    async def release(self, lease: Lease, *, delay_s: float = 0.0, reason: str = "") -> None:
        """See Leases.release."""
        await self._control.writes.write(self._release, lease, delay_s, reason)
        self._control.changes.wake_nowait()

    async def wait_changed(self, seen: int) -> int:
        """See Leases.wait_changed."""
        return await self._changed.wait(seen)

    def _claim(self, connection: apsw.Connection, worker: WorkerId, seconds: float) -> Lease | None:
        dead = self._control.locks.dead(worker_ids(connection, "holders", self._table))
        values = self._control.lease_times(seconds) | {"dead": to_json(dead), "worker": worker}
        job = first_row(connection, "claimable", values, self._table)
        if job is None:
            return None
        num, tenant = job
        claimed = first_row(connection, "claim", values | {"num": num}, self._table)
        assert claimed is not None
        connection.execute(SQL["count_claim"], {"tenant": tenant})
        id, token, attempt = claimed
        return Lease(
            job=JobId(id),
            tenant=TenantId(tenant),
            worker=worker,
            token=token,
            attempt=attempt,
            seconds=seconds,
        )

    def _release(
        self, connection: apsw.Connection, lease: Lease, delay_s: float, reason: str
    ) -> None:
        clock = self._control.lease_clock()
        delay = {"not_before": clock["now"] + round(delay_s * 1000), "reason": reason}
        release = lease_statement("release", self._table)
        connection.execute(release, held_by(lease) | clock | delay)


def held_by(lease: Lease) -> dict[str, object]:
    """What a fenced statement names its job and its owner by."""
    return {"job": lease.job, "token": lease.token, "worker": lease.worker}


def renew(connection: apsw.Connection, control: Control, lease: Lease, table: str = EXPORTS) -> int:
    """The fence: renew, and return the job's row, or raise LeaseLost or JobCancelled."""
    values = held_by(lease) | control.lease_times(lease.seconds)
    row = first_row(connection, "renew", values, table)
    if row is None:
        raise why_refused(connection, lease, table)
    return int(row[0])


def why_refused(connection: apsw.Connection, lease: Lease, table: str = EXPORTS) -> LeaseLost:
    """After a refusal: whether the job was cancelled, or only is not ours any more."""
    row = first_row(connection, "standing", {"job": lease.job}, table)
    if row is None:
        return JobCancelled("the job was deleted")
    status, deleted, _token, _worker = row
    if deleted or status == ExportStatus.CANCELLED:
        return JobCancelled("the job was cancelled")
    if ExportStatus(status).ended:
        return LeaseLost("the job has ended")
    return LeaseLost("the job was given to another worker")


def _check(connection: apsw.Connection, lease: Lease, table: str) -> None:
    row = first_row(connection, "standing", {"job": lease.job}, table)
    held = (ExportStatus.IN_PROGRESS, 0, lease.token, lease.worker)
    if row != held:
        raise why_refused(connection, lease, table)


def _data_version(connection: apsw.Connection) -> int:
    """Another number once another connection has committed."""
    version = connection.pragma("data_version")
    assert isinstance(version, int)
    return version
