"""Stray files: those that lie in the output store and that no job has recorded."""

from collections.abc import Callable

import structlog

from engine.model import ExportView, JobId, StoredName
from engine.ports import OutputStore
from engine.tenant import TenantKey

log = structlog.get_logger()


async def remove_strays(
    outputs: OutputStore,
    tenant: TenantKey,
    job: JobId,
    view: ExportView | None,
    is_dead: Callable[[StoredName], bool],
) -> None:
    """Remove the files of a job that `view` does not record and that are dead: nobody can
    still record them. A recorded file is never removed. Raises OutputUnavailable."""
    recorded = {
        part.file.location
        for part in (() if view is None else view.recorded)
        if part.file is not None
    }
    for name in await outputs.names(tenant, job):
        if name.location not in recorded and is_dead(name):
            await outputs.remove(name.location)
            log.info("stray file removed", job=job, token=name.token)
