"""StoreWorker: carries out long works on tenants' stores, one at a time, under leases.

Claimer and LeaseKeeper are those of exports. A work that is stopped, by a cancel or with its
process, is taken up by whoever claims it next, where it was.
"""

from typing import NoReturn, assert_never

import msgspec
import structlog
import trio

from engine.errors import (
    IssueCode,
    JobCancelled,
    LeaseLost,
    PenstockError,
    Permanent,
    StartupError,
    Transient,
)
from engine.export.settle import INTERNAL_ERROR, STORE_UNUSABLE
from engine.failure import decisive
from engine.lease import Claimer, LeaseKeeper, backoff
from engine.limits import EngineLimits
from engine.model import Issue, JobId, Lease, WorkerId
from engine.ports import Ports
from engine.upkeep.ports import Pruning, Reindex, Standing, StoreWork
from engine.upkeep.prune import prune
from engine.upkeep.reindex import reindex

log = structlog.get_logger()

SAVE_SECONDS = 1.0  # between two looks that others can take at how far a work is


class StoreWorker:
    """Claims works and runs them in its own nursery."""

    def __init__(self, ports: Ports, worker: WorkerId, limits: EngineLimits) -> None:
        self._ports = ports
        self._worker = worker
        self._limits = limits
        self._parked: dict[JobId, int] = {}  # how often we gave it back in a row

    async def run(self) -> NoReturn:
        """Raises Transient if the job store is in trouble. Cancelled: what runs is released."""
        async with trio.open_nursery() as nursery:
            claimer = Claimer(
                self._ports.work_leases,
                self._worker,
                clock=self._ports.clock,
                entropy=self._ports.entropy,
                limits=msgspec.structs.replace(self._limits, jobs_at_once=1),
                start=lambda lease, at: nursery.start_soon(self._run, claimer, lease, at),
            )
            await claimer.run()
        raise AssertionError("a claimer runs for ever")

    async def _run(self, claimer: Claimer, lease: Lease, claimed_at: float) -> None:
        parked = self._parked.pop(lease.job, 0)
        run = StoreWorkRun(self._ports, self._limits, lease, claimed_at=claimed_at, parked=parked)
        try:
            if await run.run():
                self._parked[lease.job] = parked + 1
        finally:
            claimer.ended_nowait()


class StoreWorkRun:
    """Owns one lease."""

    def __init__(
        self, ports: Ports, limits: EngineLimits, lease: Lease, *, claimed_at: float, parked: int
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._lease = lease
        self._parked = parked
        self._standing = Standing()
        self._saved_at = claimed_at - SAVE_SECONDS
        self._steps = 0
        self._ended = False
        self._keeper = LeaseKeeper(
            ports.work_leases,
            lease,
            claimed_at=claimed_at,
            clock=ports.clock,
            limits=limits,
            progress=lambda: self._steps,
        )
        self._log = log.bind(job=lease.job, tenant=lease.tenant, token=lease.token)

    async def run(self) -> bool:
        """Work until it ends or is not ours any more. Returns whether it was given back for a
        while. Cancelled: it is released, claimable at once, with its attempt."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keeper.run)
                await self._work()
                nursery.cancel_scope.cancel()
        except BaseException as error:
            cause = decisive(error)
            if cause is not None and not isinstance(cause, Exception):
                raise
            with trio.move_on_after(self._limits.commit_seconds, shield=True):
                await self._settle(cause)
            if cause is None:
                raise
            return isinstance(cause, Transient)
        return False

    async def _work(self) -> None:
        works = self._ports.store_works
        work = await works.find(self._lease.tenant, self._lease.job)
        if work is None:
            raise JobCancelled("the work is forgotten")
        if self._lease.attempt > self._limits.attempts_max:
            raise Permanent(
                f"given up after {self._limits.attempts_max} attempts whose worker died; "
                "see the server's log and start it again"
            )
        self._standing = work.standing
        self._log.info("work begins", task=type(work.task).__name__, looked=work.standing.looked)
        self._standing = await self._carry_out(work)
        await works.end(self._lease, self._standing)
        self._ended = True
        self._keeper.stop_nowait()
        self._log.info("work complete", changed=self._standing.changed)

    async def _carry_out(self, work: StoreWork) -> Standing:
        store = await self._ports.tenants.store(work.tenant)
        match work.task:
            case Reindex() as task:
                return await reindex(store, task, work.standing, self._lease, self._save)
            case Pruning() as task:
                return await prune(store, task, work.standing, self._save)
        assert_never(work.task)

    async def _save(self, standing: Standing) -> None:
        """Once in a while; what was begun, at once."""
        self._steps += 1
        now = self._ports.clock.boottime()
        if standing.begun > self._standing.begun or now - self._saved_at >= SAVE_SECONDS:
            await self._ports.store_works.save(self._lease, standing)
            self._saved_at = now
        self._standing = standing

    async def _settle(self, cause: BaseException | None) -> None:
        """If the job store cannot be reached, the lease's expiry says the rest."""
        if self._ended:
            return  # its keeper saw the lease end before it heard why
        try:
            await self._say(cause)
        except (LeaseLost, Transient) as error:
            self._log.warning("could not settle", reason=str(error))

    async def _say(self, cause: BaseException | None) -> None:
        match cause:
            case None:
                await self._ports.store_works.save(self._lease, self._standing)
                await self._ports.work_leases.release(self._lease)
            case JobCancelled():
                self._log.info("cancelled")
                await self._ports.work_leases.release(self._lease)
            case LeaseLost():
                self._log.warning("lease lost", reason=str(cause))
            case Transient():
                await self._park(cause)
            case StartupError():
                self._log.error("failed", reason=str(cause))  # it names files
                await self._fail(cause.code, STORE_UNUSABLE)
            case PenstockError():
                self._log.error("failed", reason=str(cause))
                await self._fail(cause.code, str(cause))
            case _:
                self._log.error("failed by a defect", exc_info=cause)
                await self._fail("exception", INTERNAL_ERROR)

    async def _park(self, cause: Transient) -> None:
        delay = backoff(self._parked + 1, limits=self._limits, entropy=self._ports.entropy)
        self._log.warning("parked", reason=str(cause), delay_s=round(delay, 1))
        await self._ports.store_works.save(self._lease, self._standing)
        await self._ports.work_leases.release(self._lease, delay_s=delay, reason=str(cause))

    async def _fail(self, code: IssueCode, why: str) -> None:
        issue = Issue(severity="fatal", code=code, diagnostics=why)
        await self._ports.store_works.end(self._lease, self._standing, issue=issue)
