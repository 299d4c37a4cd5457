"""`penstock load`: resources from files into a tenant's store.

A repeated load of the same data makes no new versions, so after an interruption
or an error the same command goes on.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
import trio
from rich.console import Console

from engine.errors import NotFound, StartupError
from engine.fhir.search.query import SearchContext
from engine.limits import MIB
from engine.model import Ingested
from engine.ports import Ports, TenantStore
from engine.tenant import TenantId
from web.cli.loading.conditional import HeldBack, SecondPass
from web.cli.loading.crew import open_crew
from web.cli.loading.cutting import cut
from web.cli.loading.parsing import Rules
from web.cli.loading.pipeline import Pipeline
from web.cli.loading.report import LoadReport, reporting
from web.cli.loading.sources import Source, find_sources
from web.cli.loading.worker import Batch
from web.cli.options import Exit, echo_json, json_option, settings_options, tenant_option
from web.compose import compose, search_settings
from web.runtime import spare_collector
from web.settings import Settings, Validation

WORKERS_MAX = 64
SMALL_BYTES = 2 * MIB


@click.command()
@settings_options
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@tenant_option
@click.option(
    "--keep-source",
    is_flag=True,
    help="Keep meta.versionId and meta.lastUpdated of the source, as extensions on meta.",
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was rejected to this file: NDJSON of file, line or entry, error.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, WORKERS_MAX),
    help="Processes that parse, validate and index; 0: none but this one. "
    "[default: one for each core but one, two on two cores; 0 for small data]",
)
@click.option(
    "--validation",
    type=click.Choice(get_args(Validation)),
    help="What is checked of each resource. [default: the tenant's setting]",
)
@json_option
def load(
    settings: Settings,
    paths: tuple[Path, ...],
    tenant: TenantId,
    keep_source: bool,
    rejects: Path | None,
    workers: int | None,
    validation: Validation | None,
    as_json: bool,
) -> int:
    """Load NDJSON, gzip NDJSON, Bundles or folders of them.

    Exit status: 0 if all was loaded, 1 if something was rejected or the store failed, 2 if
    nothing could be started, 130 if it was interrupted.
    """
    sources = find_sources(paths)
    rules = Rules(
        resource_bytes_max=settings.resource_bytes_max,
        keep_source=keep_source,
        structure=(validation or settings.validation_of(tenant)) == "structure",
    )
    console = Console(stderr=True)
    bytes_total = sum(source.size_bytes for source in sources)
    with reporting(console, bytes_total=bytes_total, rejects=rejects) as report:
        stopped = True
        try:
            count = _default_workers(sources) if workers is None else workers
            stopped = trio.run(_load, settings, tenant, sources, rules, count, report)
        finally:
            if report.begun:
                _show(report, console, stopped, as_json)
    if stopped:
        return Exit.INTERRUPTED
    return Exit.FAILED if report.totals.rejected else Exit.OK


async def _load(
    settings: Settings,
    tenant: TenantId,
    sources: Sequence[Source],
    rules: Rules,
    workers: int,
    report: LoadReport,
) -> bool:
    """Load and say whether it was stopped before the end."""
    async with compose(settings) as ports, trio.open_nursery() as nursery:
        store = await _store(ports, tenant)
        spare_collector()
        report.begin()
        held = HeldBack()

        def take(batch: Batch, done: Ingested) -> None:
            held.add(batch.held)
            report.take(batch, done)

        async with open_crew(workers, rules, await store.packer()) as crew:
            cuts = cut(sources, line_bytes_max=rules.resource_bytes_max)
            pipeline = Pipeline(store, cuts, rules, crew, take)
            await nursery.start(_watch_signals, pipeline, nursery.cancel_scope)
            await pipeline.run()
        context = SearchContext(
            now_ms=ports.clock.now_ms(),
            zone=settings.zone_of(tenant),
            base_urls=search_settings(settings).base_urls(tenant),
        )
        second = SecondPass(store, context, report.take, bytes_max=rules.resource_bytes_max)
        await second.run(held)
        nursery.cancel_scope.cancel()
    return pipeline.stopped


def _default_workers(sources: Sequence[Source]) -> int:
    """What is small is loaded before a process has started. A pipe's size is not known."""
    sizes = [source.size_bytes for source in sources]
    if sum(sizes) < SMALL_BYTES and all(source.path.is_file() for source in sources):
        return 0
    cores = os.cpu_count() or 1
    return max(cores - 1, min(cores, 2))  # this process waits for the disk: two keep two cores busy


async def _store(ports: Ports, tenant: TenantId) -> TenantStore:
    try:
        return await ports.tenants.store(tenant)
    except NotFound:
        raise StartupError(f"--tenant {tenant}: there is no such tenant") from None


async def _watch_signals(
    pipeline: Pipeline,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first signal ends the load after what was parsed is stored, the second at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if pipeline.stopping:
                everything.cancel()
            pipeline.stop()


def _show(report: LoadReport, console: Console, stopped: bool, as_json: bool) -> None:
    if as_json:
        echo_json(report.as_json(stopped=stopped))
        return
    if stopped:
        console.print("stopped before the end; this is in the store, and a repeated load goes on:")
    Console().print(report.table())
