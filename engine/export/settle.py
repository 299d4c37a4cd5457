"""Settlement: says to the stores what became of a job when its work stopped early."""

import structlog

from engine.errors import (
    JobCancelled,
    LeaseLost,
    OutputUnavailable,
    PenstockError,
    StartupError,
    Transient,
)
from engine.export.stray import remove_strays
from engine.lease import backoff
from engine.limits import EngineLimits
from engine.model import ExportStatus, Issue, Lease
from engine.ports import Ports

log = structlog.get_logger()

STORE_UNUSABLE = "the store cannot be used; the server's log has it under this job's id"
INTERNAL_ERROR = "internal error; the server's log has it under this job's id"


class Settlement:
    """One lease's last words. `parked` is how often this process gave the job back in a row."""

    def __init__(self, ports: Ports, limits: EngineLimits, lease: Lease, *, parked: int) -> None:
        self._ports = ports
        self._limits = limits
        self._lease = lease
        self._parked = parked
        self._log = log.bind(job=lease.job, token=lease.token, attempt=lease.attempt)

    async def settle(self, cause: BaseException | None) -> bool:
        """Give the job back, fail it, or clean up after it, as `cause` asks (None: we were
        asked to stop). Returns whether the job turns out to be complete by our own hand.

        If a store cannot be reached, the lease's expiry says the rest and the janitor finds
        the files; so this never raises what the world does.
        """
        try:
            if isinstance(cause, LeaseLost) and await self._completed_by_us():
                return True
            # Before anything that needs the output store: it may be what is in trouble.
            await self._say(cause)
            if not isinstance(cause, JobCancelled):
                await self._remove_own_strays()
        except (LeaseLost, Transient) as error:
            self._log.warning("could not settle", reason=str(error))
        return False

    async def _completed_by_us(self) -> bool:
        """Our finish took effect, and its keeper saw the lease end before we heard of it."""
        view = await self._ports.export_upkeep.find(self._lease.job)
        return (
            view is not None
            and view.job.status is ExportStatus.COMPLETE
            and view.job.token == self._lease.token
        )

    async def _remove_own_strays(self) -> None:
        """Our work has ended, so what we wrote and did not record never will be."""
        view = await self._ports.export_upkeep.find(self._lease.job)
        if view is None:
            return
        await remove_strays(
            self._ports.outputs,
            view.job.tenant_key,
            self._lease.job,
            view,
            lambda name: name.token == self._lease.token,
        )

    async def _say(self, cause: BaseException | None) -> None:
        match cause:
            case None:
                self._log.info("released at shutdown")
                await self._ports.export_leases.release(self._lease)
            case JobCancelled():
                self._log.info("cancelled")
                await self._delete_files()
                await self._ports.export_leases.release(self._lease)
            case LeaseLost():
                self._log.warning("lease lost", reason=str(cause))
            case Transient():
                await self._park(cause)
            case StartupError():
                # A store that is opened while we run. Its message is for the operator: it
                # names files.
                self._log.error("failed", reason=str(cause))
                issue = Issue(severity="fatal", code=cause.code, diagnostics=STORE_UNUSABLE)
                await self._fail(issue)
            case PenstockError():
                self._log.error("failed", reason=str(cause))
                await self._fail(Issue(severity="fatal", code=cause.code, diagnostics=str(cause)))
            case _:
                self._log.error("failed by a defect", exc_info=cause)
                await self._fail(
                    Issue(severity="fatal", code="exception", diagnostics=INTERNAL_ERROR)
                )

    async def _park(self, cause: Transient) -> None:
        delay = backoff(self._parked + 1, limits=self._limits, entropy=self._ports.entropy)
        self._log.warning("parked", reason=str(cause), delay_s=round(delay, 1))
        await self._ports.export_leases.release(self._lease, delay_s=delay, reason=str(cause))

    async def _fail(self, issue: Issue) -> None:
        await self._ports.export_work.fail(self._lease, issue)

    async def _delete_files(self) -> None:
        try:
            tenant = await self._ports.tenants.get(self._lease.tenant)
            await self._ports.outputs.delete_job(tenant.key, self._lease.job)
        except OutputUnavailable as error:
            # The janitor removes what we cannot.
            self._log.warning("files of a cancelled job stay for now", reason=str(error))
