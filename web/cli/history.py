"""`penstock history prune`: forgets old versions of resources.

Works beside a running server. What an open export still reads stays.
"""

import re

import click
import msgspec
import trio

from engine.instant import format_instant
from engine.ports import Ports
from engine.tenant import TenantId
from engine.upkeep.ports import Pruning, Standing
from engine.upkeep.prune import prune
from web.cli.options import Exit, echo_json, json_option, settings_options, tenant_option
from web.cli.working import Show, cancel_on_signal, carry_out, progress_bar, store_of, versions_in
from web.compose import compose, new_worker_id
from web.logs import configure_logs
from web.settings import Settings

_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


class Duration(click.ParamType[int]):
    """A length of time, in milliseconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"'{value}' is not a number with a unit of s, m, h, d or w", param, ctx)
        return int(match[1]) * _UNIT_MS[match[2]]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    tenant: TenantId
    age_ms: int
    keep: int
    dry_run: bool


class Outcome(msgspec.Struct, frozen=True):
    """What became of it."""

    task: Pruning
    standing: Standing


@click.group()
def history() -> None:
    """Look after old versions of resources."""


@history.command("prune")
@settings_options
@click.option(
    "--older-than",
    "age_ms",
    type=Duration(),
    metavar="AGE",
    help="Only what was replaced longer ago than this: 45s, 90m, 12h, 30d, 8w.",
)
@click.option(
    "--keep",
    type=click.IntRange(1),
    metavar="N",
    help="Of each resource the newest N stay, the current one included. [default: 1]",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@tenant_option
@json_option
def prune_history(
    settings: Settings,
    age_ms: int | None,
    keep: int | None,
    dry_run: bool,
    tenant: TenantId,
    as_json: bool,
) -> int:
    """Remove versions that were replaced long ago.

    Exit status: 0 if all of them are gone, 1 if it failed, 2 if it could not start, 130 if it
    was interrupted: what was removed by then stays removed.
    """
    if age_ms is None and keep is None:
        raise click.UsageError("say --older-than, --keep or both: without, all history would go")
    configure_logs("warning", settings.log_format)
    wanted = Wanted(tenant=tenant, age_ms=age_ms or 0, keep=keep or 1, dry_run=dry_run)
    outcome = trio.run(_prune, settings, wanted)
    if outcome is None:
        return Exit.INTERRUPTED
    _report(wanted, outcome, as_json=as_json)
    return Exit.OK


def _report(wanted: Wanted, outcome: Outcome, *, as_json: bool) -> None:
    removed, looked = outcome.standing.changed, outcome.standing.looked
    if as_json:
        facts = {
            "tenant": wanted.tenant,
            "replacedBefore": format_instant(outcome.task.older_than_ms),
            "keep": wanted.keep,
            "dryRun": wanted.dry_run,
            "looked": looked,
            "removed": removed,
        }
        echo_json(facts)
        return
    verb = "would be removed" if wanted.dry_run else "removed"
    click.echo(f"{removed:,} versions {verb}, {looked:,} looked at")


async def _prune(settings: Settings, wanted: Wanted) -> Outcome | None:
    """None if a signal came first."""
    worker = new_worker_id()
    outcome = None
    async with compose(settings, worker=worker) as ports, trio.open_nursery() as nursery:
        total = await versions_in(await store_of(ports, wanted.tenant))
        task = Pruning(older_than_ms=ports.clock.now_ms() - wanted.age_ms, keep=wanted.keep)
        with trio.CancelScope() as work, progress_bar("pruning", "versions", total) as show:
            await nursery.start(cancel_on_signal, work)
            if wanted.dry_run:
                standing = await _count(ports, wanted.tenant, task, show)
            else:
                done = await carry_out(
                    ports, worker, settings.engine, wanted.tenant, task, show, cancel=True
                )
                standing = done.standing
            outcome = Outcome(task, standing)
        nursery.cancel_scope.cancel()
    return outcome


async def _count(ports: Ports, tenant: TenantId, task: Pruning, show: Show) -> Standing:
    """Needs no lease: it changes nothing."""

    async def save(standing: Standing) -> None:
        show(standing)

    return await prune(await store_of(ports, tenant), task, Standing(), save, dry_run=True)
