"""`penstock reindex`: brings a tenant's search index to the definitions of now.

Works beside a running server, which goes on serving and writing.
"""

import click
import trio

from engine.tenant import TenantId
from engine.upkeep.ports import Reindex, StoreWork
from web.cli.options import Exit, echo_json, json_option, settings_options, tenant_option
from web.cli.working import cancel_on_signal, carry_out, progress_bar, store_of, versions_in
from web.compose import compose, new_worker_id
from web.logs import configure_logs
from web.settings import Settings


@click.command()
@settings_options
@click.option(
    "--rebuild",
    is_flag=True,
    help="Forget the whole index first. Until it is made again nothing can be searched for.",
)
@tenant_option
@json_option
def reindex(settings: Settings, rebuild: bool, tenant: TenantId, as_json: bool) -> int:
    """Bring the search index up to date: after new SearchParameters, or wholly anew.

    Exit status: 0 if the index is complete, 1 if it failed, 2 if it could not start, 130 if it
    was interrupted: then a server, or the same command, goes on where it was.
    """
    configure_logs("warning", settings.log_format)
    done = trio.run(_reindex, settings, tenant, Reindex(rebuild=rebuild))
    if done is None:
        return Exit.INTERRUPTED
    looked, indexed = done.standing.looked, done.standing.changed
    if as_json:
        echo_json({"tenant": tenant, "work": done.id, "looked": looked, "indexed": indexed})
    else:
        click.echo(f"{indexed:,} resources indexed, {looked:,} versions looked at")
    return Exit.OK


async def _reindex(settings: Settings, tenant: TenantId, task: Reindex) -> StoreWork | None:
    """The work as it ended; None if a signal came first."""
    worker = new_worker_id()
    done = None
    async with compose(settings, worker=worker) as ports, trio.open_nursery() as nursery:
        total = await versions_in(await store_of(ports, tenant))
        with trio.CancelScope() as work, progress_bar("reindexing", "indexed", total) as show:
            await nursery.start(cancel_on_signal, work)
            done = await carry_out(ports, worker, settings.engine, tenant, task, show, cancel=False)
        nursery.cancel_scope.cancel()
    return done
