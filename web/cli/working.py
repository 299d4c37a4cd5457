"""How a command carries out a long work on a tenant's store, and shows how far it is.

The command is a worker like any other on its store: if another process, such as a running
server, has the work already, the command waits for it; if that one dies, it goes on itself.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import NotFound, Permanent, StartupError
from engine.limits import EngineLimits
from engine.model import ExportStatus, WorkerId
from engine.ports import Ports, TenantStore
from engine.tenant import TenantId
from engine.upkeep.ports import Reindex, Standing, StoreWork, Task
from engine.upkeep.works import StoreWorker

CANCEL_SECONDS_MAX = 10

Show = Callable[[Standing], None]


async def carry_out(
    ports: Ports,
    worker: WorkerId,
    limits: EngineLimits,
    tenant: TenantId,
    task: Task,
    show: Show,
    *,
    cancel: bool,
) -> StoreWork:
    """Ask for a work, and do it or wait for who does. One of its kind with other details comes
    first. `cancel`: if we are cancelled, so is the work that was asked for.

    Returns it once it is complete. Raises Permanent if it failed or was cancelled.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StoreWorker(ports, worker, limits).run)
        while True:
            work = await ports.store_works.ask(tenant, task)
            ours = _serves(work.task, task)
            try:
                ended = await _wait_ended(ports, worker, work, show)
            except trio.Cancelled:
                if cancel and ours:
                    with trio.move_on_after(CANCEL_SECONDS_MAX, shield=True):
                        await ports.store_works.cancel(tenant, work.id)
                raise
            if ours:
                break
        nursery.cancel_scope.cancel()
    return _require_complete(ended)


async def store_of(ports: Ports, tenant: TenantId) -> TenantStore:
    """The tenant's store. Raises StartupError if there is no such tenant."""
    try:
        return await ports.tenants.store(tenant)
    except NotFound:
        raise StartupError(f"--tenant {tenant}: there is no such tenant") from None


async def versions_in(store: TenantStore) -> int:
    """How many versions of resources there are: what works walk over."""
    return (await store.history(limit=0)).total


async def cancel_on_signal(work: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """Cancel the scope at SIGTERM and SIGINT."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            work.cancel()


@contextmanager
def progress_bar(title: str, changed: str, total: int) -> Iterator[Show]:
    """On stderr, if it is a terminal. `total`: versions to look at; `changed`: a word for what
    is counted."""
    console = Console(file=sys.stderr)
    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task("", total=total or None, count="")

        def show(standing: Standing) -> None:
            bar.update(
                task,
                completed=min(standing.looked, total),
                count=f"{standing.changed:,} {changed}",
            )

        yield show


def _serves(found: Task, wanted: Task) -> bool:
    """Whether the one does what the other would: an index that is made anew lacks nothing."""
    if isinstance(found, Reindex) and isinstance(wanted, Reindex):
        return found.rebuild or not wanted.rebuild
    return found == wanted


async def _wait_ended(ports: Ports, worker: WorkerId, work: StoreWork, show: Show) -> StoreWork:
    seen, told = 0, None
    found: StoreWork | None = work
    while found is not None and not found.status.ended:
        show(found.standing)
        if found.worker not in (None, worker, told):
            told = found.worker
            click.echo(f"penstock: the worker {told} is at it; waiting for its end", err=True)
        seen = await ports.work_leases.wait_changed(seen)
        found = await ports.store_works.find(work.tenant, work.id)
    if found is None:
        raise Permanent("the work has ended, and so many after it that its result is forgotten")
    show(found.standing)
    return found


def _require_complete(work: StoreWork) -> StoreWork:
    if work.status is ExportStatus.CANCELLED:
        raise Permanent("another process has cancelled this work")
    if work.status is not ExportStatus.COMPLETE:
        raise Permanent(work.issue.diagnostics if work.issue else "the work failed")
    return work
