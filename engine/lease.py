"""Claimer and LeaseKeeper: one mechanism for every kind of job.

The claimer takes jobs while there is room for them. The keeper is a task beside a
job's work, in the job's nursery: it renews the lease and raises once it is lost, which
cancels the work.
"""

import math
from collections.abc import Callable
from typing import NoReturn

import structlog
import trio

from engine.clock import Clock, Entropy
from engine.errors import JobStalled, LeaseLost, Transient
from engine.limits import EngineLimits
from engine.model import Lease, WorkerId
from engine.ports import Leases

log = structlog.get_logger()


class LeaseKeeper:
    """Renews one lease, well before the worker must stop itself by its own clock."""

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        *,
        claimed_at: float,
        clock: Clock,
        limits: EngineLimits,
        progress: Callable[[], int],
    ) -> None:
        self._leases = leases
        self._lease = lease
        self._clock = clock
        self._limits = limits
        self._progress = progress
        self._deadline = self._deadline_after(claimed_at)
        self._look = trio.Event()
        self._scope = trio.CancelScope()

    def stop_nowait(self) -> None:
        """The job has ended by its holder's own hand: neither renew nor look."""
        self._scope.cancel()

    def look_nowait(self) -> None:
        """Ask the store now whether the job is still ours."""
        self._look.set()

    async def run(self) -> None:
        """Keep the lease until told to stop. Raises LeaseLost, JobCancelled, JobStalled."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self._watch_commands)
                await self._beat()

    async def _beat(self) -> NoReturn:
        seen, moved_at = self._progress(), self._clock.boottime()
        while True:
            await self._clock.sleep(self._limits.lease_renew_seconds)
            if self._progress() != seen:
                seen, moved_at = self._progress(), self._clock.boottime()
            elif self._clock.boottime() - moved_at > self._limits.stall_seconds:
                # A wedged job must not keep its lease for ever.
                raise JobStalled(f"no progress for {self._limits.stall_seconds:.0f} s")
            await self._renew()

    async def _renew(self) -> None:
        """One renewal, tried again until it lands or the worker must stop itself."""
        delay = self._limits.backoff_seconds / 4
        while True:
            # The store counts from when it gets the request, which is not before this.
            sent = self._clock.boottime()
            with trio.move_on_after(self._left(sent)):
                try:
                    await self._leases.heartbeat(self._lease)
                except Transient as error:
                    log.warning("renewal failed", job=self._lease.job, reason=str(error))
                else:
                    self._deadline = self._deadline_after(sent)
                    return
                await self._clock.sleep(delay)
                delay = min(2 * delay, self._limits.lease_renew_seconds)

    def _left(self, now: float) -> float:
        """Seconds until the worker must stop itself. Raises LeaseLost if there are none."""
        if now >= self._deadline:
            raise LeaseLost("the lease could not be renewed in time")
        return self._deadline - now

    def _deadline_after(self, sent: float) -> float:
        return sent + self._lease.seconds - self._limits.lease_margin_seconds

    async def _watch(self) -> NoReturn:
        """Learn of a cancel at once, not at the next renewal."""
        seen = 0
        while True:
            try:
                seen = await self._leases.wait_changed(seen)
                await self._leases.check(self._lease)
            except Transient:
                await self._clock.sleep(self._limits.backoff_seconds)

    async def _watch_commands(self) -> NoReturn:
        while True:
            await self._look.wait()
            self._look = trio.Event()
            try:
                await self._leases.check(self._lease)
            except Transient:
                # The renewal asks the same question.
                log.warning("check failed", job=self._lease.job)


class Claimer:
    """Takes jobs, one by one, while fewer than `at_once` run."""

    def __init__(
        self,
        leases: Leases,
        worker: WorkerId,
        *,
        clock: Clock,
        entropy: Entropy,
        limits: EngineLimits,
        start: Callable[[Lease, float], None],
    ) -> None:
        self._leases = leases
        self._worker = worker
        self._clock = clock
        self._entropy = entropy
        self._limits = limits
        self._start = start
        self._room = trio.Semaphore(limits.jobs_at_once)
        self._wake = trio.Event()

    def wake_nowait(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def ended_nowait(self) -> None:
        """A job that was started has ended: there is room for another."""
        self._room.release()

    async def run(self) -> NoReturn:
        """Claim for ever. Cancelled: every job that was claimed was started."""
        seen = 0
        while True:
            await self._room.acquire()
            try:
                sent = self._clock.boottime()
                lease = await self._leases.claim(self._worker, self._limits.lease_seconds)
                if lease is not None:
                    self._start(lease, sent)
            except BaseException:
                self._room.release()
                raise
            if lease is None:
                self._room.release()
                seen = await self._wait(seen)

    async def _wait(self, seen: int) -> int:
        """Until something changed, somebody woke us, or it is time to look anyway."""
        marks = [seen]
        jitter = self._entropy.jitter(0.5, 1.0)
        with trio.move_on_after(self._limits.poll_seconds * jitter):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wait_changed, seen, marks, nursery.cancel_scope)
                await self._wake.wait()
                nursery.cancel_scope.cancel()
        self._wake = trio.Event()
        return marks[-1]

    async def _wait_changed(self, seen: int, marks: list[int], done: trio.CancelScope) -> None:
        marks.append(await self._leases.wait_changed(seen))
        done.cancel()


def backoff(failures: int, *, limits: EngineLimits, entropy: Entropy) -> float:
    """Seconds to wait after so many failures in a row: exponential, capped, spread."""
    assert failures >= 1
    exponent = min(failures - 1, int(math.log2(limits.backoff_seconds_max)) + 1)
    longest = min(limits.backoff_seconds * 2.0**exponent, limits.backoff_seconds_max)
    return entropy.jitter(longest / 2, longest)
