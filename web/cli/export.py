"""`penstock export`: the server's engine without HTTP, and its files in a folder.

Works beside a running server, which may then do some of the work.
"""

import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from engine.errors import NotFound, StartupError
from engine.export.kickoff import kick_off
from engine.export.request import parse_export_request
from engine.fhir.types import R4_TYPES
from engine.messages import Drain, Wake
from engine.model import ExportJob, ExportRequest, ExportStatus, WorkerId
from engine.ports import Ports
from engine.supervisor import Supervisor
from engine.tenant import DEFAULT_TENANT, TenantId
from engine.upkeep.janitor import Janitor
from web.cli.collect import collect, prepare_folder
from web.cli.options import Exit, echo_json, json_option, settings_options, tenant_option
from web.compose import compose, new_worker_id
from web.logs import configure_logs
from web.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    tenant: TenantId
    parameters: Sequence[tuple[str, str]]  # as in a kick-off request
    folder: Path
    gzip: bool


@click.command()
@settings_options
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A new or empty folder for the files and manifest.json.",
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type. Repeatable.")
@click.option("--since", metavar="INSTANT", help="Only what was changed after this time.")
@click.option("--until", metavar="INSTANT", help="Only what was changed up to this time.")
@click.option("--gzip", is_flag=True, help="Compress the files.")
@tenant_option
@json_option
def export(
    settings: Settings,
    folder: Path,
    types: Sequence[str],
    since: str | None,
    until: str | None,
    gzip: bool,
    tenant: TenantId,
    as_json: bool,
) -> int:
    """Export a tenant into a folder, without HTTP.

    Counts and checksums are verified. Exit status: 0 if the folder holds the whole export,
    1 if the export failed (the folder stays empty), 2 if it could not start, 130 if it was
    interrupted.
    """
    configure_logs("warning", settings.log_format)
    parameters = [("_type", name) for name in types]
    parameters += [(name, value) for name, value in (("_since", since), ("_until", until)) if value]
    wanted = Wanted(tenant=tenant, parameters=parameters, folder=folder, gzip=gzip)
    outcome = trio.run(_export, settings, wanted)
    if outcome is None:
        return Exit.INTERRUPTED
    return _report(*outcome, wanted, as_json=as_json)


def _report(
    job: ExportJob, manifest: dict[str, Any] | None, wanted: Wanted, *, as_json: bool
) -> int:
    if manifest is None:
        why = job.issue.diagnostics if job.issue else f"the job is {job.status}"
        click.echo(f"penstock: export failed: {why}", err=True)
        return Exit.FAILED
    if as_json:
        echo_json({"job": job.id, "folder": str(wanted.folder), "manifest": manifest})
    else:
        count = sum(item["count"] for item in manifest["output"])
        click.echo(
            f"{count:,} resources in {len(manifest['output'])} files in {wanted.folder}, "
            f"as of {manifest['transactionTime']}"
        )
    return Exit.OK


async def _export(
    settings: Settings, wanted: Wanted
) -> tuple[ExportJob, dict[str, Any] | None] | None:
    """The job's end and its manifest; None if a signal came first."""
    worker = new_worker_id()
    outcome = None
    # A signal cancels the work, and not the stores, which cleaning up still needs.
    async with compose(settings, worker=worker) as ports, trio.open_nursery() as nursery:
        with trio.CancelScope() as work:
            await nursery.start(_cancel_on_signal, work)
            outcome = await _work(ports, worker, settings, wanted)
        nursery.cancel_scope.cancel()
    return outcome


async def _cancel_on_signal(work: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            work.cancel()


async def _work(
    ports: Ports, worker: WorkerId, settings: Settings, wanted: Wanted
) -> tuple[ExportJob, dict[str, Any] | None]:
    request = _request(settings, wanted, await _latest_ms(ports, wanted.tenant))
    prepare_folder(wanted.folder)
    job = await kick_off(ports, settings.engine, wanted.tenant, request)
    try:
        async with _engine(ports, worker, settings):
            job = await _wait_ended(ports, job)
        if job.status is not ExportStatus.COMPLETE:
            return job, None
        parts = await ports.export_jobs.parts(job.tenant, job.id)
        return job, await collect(ports.outputs, job, parts, wanted.folder, gzip=wanted.gzip)
    finally:
        # Interrupted or done: nobody will ask for this job again.
        with trio.move_on_after(settings.engine.commit_seconds, shield=True):
            await ports.export_jobs.delete(job.tenant, job.id)
            await Janitor(ports, settings.engine).round()


async def _latest_ms(ports: Ports, tenant: TenantId) -> int:
    """The latest time that can be known. Where the clock stepped back, that is the
    transactionTime of the export before, which is what --since rightly names.

    Raises StartupError if there is no such tenant.
    """
    try:
        store = await ports.tenants.store(tenant)
    except NotFound:
        raise StartupError(
            f"there is no tenant '{tenant}': the setting tenants names those to be made"
        ) from None
    return max(ports.clock.now_ms(), (await store.statistics()).cut_ms)


def _request(settings: Settings, wanted: Wanted, now_ms: int) -> ExportRequest:
    tenant = "" if wanted.tenant == DEFAULT_TENANT else f"/{wanted.tenant}"
    query = urlencode(wanted.parameters)
    url = f"{settings.effective_base_url}{tenant}/$export" + (f"?{query}" if query else "")
    return parse_export_request(
        wanted.parameters, lenient=False, url=url, now_ms=now_ms, known_types=R4_TYPES
    )


@asynccontextmanager
async def _engine(ports: Ports, worker: WorkerId, settings: Settings) -> AsyncIterator[None]:
    supervisor = Supervisor(ports, worker, settings.engine)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.tell(Wake())
        yield
        supervisor.tell(Drain())


async def _wait_ended(ports: Ports, job: ExportJob) -> ExportJob:
    columns = (TextColumn("exporting"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        seen = 0
        while not job.status.ended:
            seen = await ports.export_leases.wait_changed(seen)
            job = await ports.export_jobs.get(job.tenant, job.id)
            progress = job.progress
            bar.update(
                task,
                total=max(progress.bytes_estimate, progress.bytes_done) or None,
                completed=progress.bytes_done,
            )
    return job
