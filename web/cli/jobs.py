"""`penstock jobs`: what the job store knows, and cancelling.

Works beside a running server: the worker that runs a cancelled job finds out within
a second.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import click
import trio

from engine.errors import BadRequest
from engine.instant import format_instant
from engine.model import ExportJob, FinalizedPart, JobId
from engine.tenant import TenantId
from web.cli.options import TenantName, echo_json, json_option, settings_options, tenant_option
from web.compose import compose
from web.settings import Settings

JOBS_SHOWN = 100
_JOB_ID = re.compile(r"[0-9a-f]{32}")


@click.group()
def jobs() -> None:
    """List, show and cancel export jobs."""


@jobs.command("list")
@settings_options
@click.option("--tenant", type=TenantName(), default=None, help="Only this tenant's jobs.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=JOBS_SHOWN, show_default=True)
@json_option
def list_jobs(settings: Settings, tenant: TenantId | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    found = trio.run(_list, settings, tenant, limit)
    if as_json:
        echo_json([describe(job) for job in found])
    else:
        for line in _table(found):
            click.echo(line)


@jobs.command("show")
@settings_options
@click.argument("job")
@tenant_option
@json_option
def show_job(settings: Settings, job: str, tenant: TenantId, as_json: bool) -> None:
    """Show one job and its files."""
    found, parts = trio.run(_show, settings, tenant, job_id(job))
    facts = describe(found) | {"files": [_describe_part(part) for part in parts]}
    if as_json:
        echo_json(facts)
        return
    files = facts.pop("files")
    for name, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:<16} {'' if shown is None else shown}".rstrip())
    for file in files:
        click.echo(f"{'file':<16} {file['type']}-{file['index']}  {file['count']:,} resources")


@jobs.command("cancel")
@settings_options
@click.argument("job")
@tenant_option
@json_option
def cancel_job(settings: Settings, job: str, tenant: TenantId, as_json: bool) -> None:
    """Cancel a job. One that has ended stays as it is."""
    found = trio.run(_cancel, settings, tenant, job_id(job))
    if as_json:
        echo_json(describe(found))
    else:
        click.echo(f"{found.id} {found.status}")


def job_id(text: str) -> JobId:
    """Check what was typed as a job's id. Raises BadRequest."""
    if not _JOB_ID.fullmatch(text):
        raise BadRequest("a job's id is 32 hexadecimal digits, as `penstock jobs list` shows them")
    return JobId(text)


def describe(job: ExportJob) -> dict[str, Any]:
    """A job's facts for JSON."""
    progress = job.progress
    return {
        "id": job.id,
        "tenant": job.tenant,
        "status": str(job.status),
        "transactionTime": format_instant(job.snapshot.t_ms),
        "created": format_instant(job.created_ms),
        "finished": None if job.finished_ms is None else format_instant(job.finished_ms),
        "expires": None if job.expires_ms is None else format_instant(job.expires_ms),
        "types": list(job.request.types),
        "partsDone": progress.parts_done,
        "partsTotal": progress.parts_total,
        "resources": progress.rows_done,
        "bytes": progress.bytes_done,
        "attempt": job.attempt,
        "reason": job.reason or None,
        "issue": None if job.issue is None else job.issue.diagnostics,
    }


def _describe_part(part: FinalizedPart) -> dict[str, Any]:
    assert part.file is not None, "the job store lists only parts that have a file"
    return {
        "kind": str(part.kind),
        "type": part.type,
        "index": part.index,
        "count": part.rows,
        "bytes": part.file.bytes,
        "sha256": part.file.sha256,
        "location": part.file.location,
    }


def _table(found: Sequence[ExportJob]) -> Iterator[str]:
    """Columns for people, whole even where stdout is no terminal."""
    rows = [("JOB", "TENANT", "STATUS", "CREATED", "PARTS", "RESOURCES")]
    for job in found:
        progress = job.progress
        rows.append(
            (
                job.id,
                job.tenant,
                str(job.status),
                format_instant(job.created_ms),
                f"{progress.parts_done}/{progress.parts_total}",
                f"{progress.rows_done:,}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


async def _list(settings: Settings, tenant: TenantId | None, limit: int) -> Sequence[ExportJob]:
    async with compose(settings) as ports:
        return await ports.export_jobs.list(tenant, limit=limit)


async def _show(
    settings: Settings, tenant: TenantId, job: JobId
) -> tuple[ExportJob, Sequence[FinalizedPart]]:
    async with compose(settings) as ports:
        found = await ports.export_jobs.get(tenant, job)
        return found, await ports.export_jobs.parts(tenant, job)


async def _cancel(settings: Settings, tenant: TenantId, job: JobId) -> ExportJob:
    async with compose(settings) as ports:
        return await ports.export_jobs.cancel(tenant, job)
