"""Janitor: removes what nobody will read any more.

Files of ended jobs, files that no job recorded, pins of jobs that ended or never were.
It only ever deletes what the job store does not know, or says is over; so it may run in
every process at once, and be killed anywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import structlog
import trio

from engine.errors import NotFound, StartupError
from engine.export.stray import remove_strays
from engine.limits import EngineLimits
from engine.model import ExportView, JobId, StoredName
from engine.ports import BulkReader, Ports
from engine.tenant import TenantId

log = structlog.get_logger()


class Janitor:
    """One round now and then, and when it is woken."""

    def __init__(self, ports: Ports, limits: EngineLimits) -> None:
        self._ports = ports
        self._limits = limits
        self._wake = trio.Event()

    def wake_nowait(self) -> None:
        """There may be something to remove."""
        self._wake.set()

    async def run(self) -> NoReturn:
        """Raises Transient if a store is in trouble; whoever supervises starts it again."""
        while True:
            await self.round()
            jitter = self._ports.entropy.jitter(0.8, 1.2)
            with trio.move_on_after(self._limits.upkeep_seconds * jitter):
                await self._wake.wait()
            self._wake = trio.Event()

    async def round(self) -> None:
        """Everything there is to do now."""
        await self._purge_ended_jobs()
        await self._remove_stray_files()
        await self._close_pins()

    async def _purge_ended_jobs(self) -> None:
        upkeep, outputs = self._ports.export_upkeep, self._ports.outputs
        while jobs := await upkeep.removable():
            for job in jobs:
                # Files first: a crash in between leaves the row, which brings us back.
                await outputs.delete_job(job.tenant_key, job.id)
                await self._close_pin(job.tenant, job.id)
                await upkeep.purged(job.id)
                log.info("files removed", job=job.id)

    async def _close_pin(self, tenant: TenantId, job: JobId) -> None:
        with sparing_the_others(tenant):
            store = await self._ports.tenants.store(tenant)
            await store.close_snapshot(job)

    async def _remove_stray_files(self) -> None:
        for tenant, job in await self._ports.outputs.jobs():
            view = await self._ports.export_upkeep.find(job)
            if view is not None and view.job.tenant_key != tenant:
                view = None  # the folder of one tenant with another's job: not that job's
            await remove_strays(
                self._ports.outputs, tenant, job, view, partial(self._is_dead, view)
            )

    def _is_dead(self, view: ExportView | None, name: StoredName) -> bool:
        """Whether a file that is not recorded never will be."""
        if view is None:
            return name.age_s > self._limits.file_orphan_seconds
        if view.job.status.ended:
            return True  # also what a worker finished after its job was cancelled and purged
        # The job went on under a newer token, which no write of an older one can pass.
        return name.token < view.job.token

    async def _close_pins(self) -> None:
        for tenant in await self._ports.tenants.list():
            with sparing_the_others(tenant.id):
                await self._close_pins_of(await self._ports.tenants.store(tenant.id))

    async def _close_pins_of(self, store: BulkReader) -> None:
        for pin in await store.pins():
            view = await self._ports.export_upkeep.find(pin.job)
            never_started = view is None and pin.age_s > self._limits.pin_orphan_seconds
            if never_started or (view is not None and view.job.status.ended):
                await store.close_snapshot(pin.job)
                log.info("pin removed", job=pin.job)


@contextmanager
def sparing_the_others(tenant: TenantId) -> Iterator[None]:
    """A tenant whose store is damaged, or too new, is no reason to leave the others alone.
    The next round looks again."""
    try:
        yield
    except NotFound:
        pass  # gone since it was listed
    except StartupError as error:
        log.error("tenant's store cannot be used", tenant=tenant, reason=str(error))
