"""`penstock load`: resources from files into a tenant's store.

A repeated load of the same data makes no new versions, so after an interruption
or an error the same command goes on.
"""

import signal
from collections.abc import Sequence
from pathlib import Path

import click
import trio
from rich.console import Console

from engine.errors import NotFound, StartupError
from engine.ports import Ports, TenantStore
from engine.tenant import TenantId
from web.cli.loading.parsing import Rules, parse
from web.cli.loading.pipeline import Pipeline
from web.cli.loading.report import LoadReport, reporting
from web.cli.loading.sources import Source, find_sources
from web.cli.options import Exit, echo_json, json_option, settings_options, tenant_option
from web.compose import compose
from web.settings import Settings


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
@json_option
def load(
    settings: Settings,
    paths: tuple[Path, ...],
    tenant: TenantId,
    keep_source: bool,
    rejects: Path | None,
    as_json: bool,
) -> int:
    """Load NDJSON, gzip NDJSON, Bundles or folders of them.

    Exit status: 0 if all was loaded, 1 if something was rejected or the store failed, 2 if
    nothing could be started, 130 if it was interrupted.
    """
    sources = find_sources(paths)
    rules = Rules(resource_bytes_max=settings.resource_bytes_max, keep_source=keep_source)
    console = Console(stderr=True)
    bytes_total = sum(source.size_bytes for source in sources)
    with reporting(console, bytes_total=bytes_total, rejects=rejects) as report:
        stopped = True
        try:
            stopped = trio.run(_load, settings, tenant, sources, rules, report)
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
    report: LoadReport,
) -> bool:
    """Load and say whether it was stopped before the end."""
    async with compose(settings) as ports, trio.open_nursery() as nursery:
        store = await _store(ports, tenant)
        report.begin()
        pipeline = Pipeline(store, parse(sources, rules), report.take)
        await nursery.start(_watch_signals, pipeline, nursery.cancel_scope)
        await pipeline.run()
        nursery.cancel_scope.cancel()
    return pipeline.stopped


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
