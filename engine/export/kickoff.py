"""Kick-off: makes the cut and records the job. Nothing is promised before both are durable."""

from engine.errors import TooMany
from engine.limits import EngineLimits
from engine.model import ExportJob, ExportRequest, JobId, NewExport
from engine.ports import Ports
from engine.tenant import TenantId


async def kick_off(
    ports: Ports, limits: EngineLimits, tenant: TenantId, request: ExportRequest
) -> ExportJob:
    """Start an export of the tenant's store as it is now, and return the accepted job.

    A crash or cancel after the cut leaves a pin that the janitor removes. Raises
    NotFound, TooMany, StoreUnavailable.
    """
    job = JobId(ports.entropy.token())
    store = await ports.tenants.store(tenant)
    snapshot = await store.open_snapshot(job)
    new = NewExport(id=job, tenant=tenant, request=request, snapshot=snapshot)
    try:
        return await ports.export_jobs.start(new, open_max=limits.open_jobs_max)
    except TooMany:
        await store.close_snapshot(job)
        raise
