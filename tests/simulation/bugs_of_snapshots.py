"""Planted bugs: cuts, filters, tenants, and the janitor."""

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from backends.memory import bulk, resources, upkeep
from backends.memory.bulk import MemoryBulk
from backends.memory.state import Row
from backends.memory.upkeep import MemoryExportUpkeep
from engine.model import ExportStatus, Snapshot
from engine.upkeep.janitor import Janitor

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

from tests.simulation.mutation import Garden, bug

# Snapshots.


@bug
def snapshot_taken_late(sim: "Simulation", garden: Garden) -> None:
    """The state is that of the first plan, not that of the kick-off."""
    late: dict[tuple[str, int], Snapshot] = {}
    checked = MemoryBulk._checked

    def later(self: MemoryBulk, snapshot: Snapshot) -> Snapshot:
        checked(self, snapshot)
        now = Snapshot(self._store.id, self._store.seq, snapshot.t_ms)
        return late.setdefault((snapshot.store, snapshot.seq), now)

    garden.replace(MemoryBulk, "_checked", later)


@bug
def live_reads(sim: "Simulation", garden: Garden) -> None:
    """Parts read what is current while they are read."""
    garden.replace(
        Row, "visible", lambda self, at: self.replaced_by is None and not self.version.deleted
    )


@bug
def since_or_equal(sim: "Simulation", garden: Garden) -> None:
    """`>=` for `_since`: what the export before had comes again."""
    matches = bulk._matches

    def also_equal(row: Any, type: str, request: Any, snapshot: Any) -> bool:
        if request.since_ms is not None:
            request = msgspec.structs.replace(request, since_ms=request.since_ms - 1)
        return matches(row, type, request, snapshot)

    garden.replace(bulk, "_matches", also_equal)


@bug
def until_excluded(sim: "Simulation", garden: Garden) -> None:
    """`<` for `_until`."""
    matches = bulk._matches

    def earlier(row: Any, type: str, request: Any, snapshot: Any) -> bool:
        if request.until_ms is not None:
            request = msgspec.structs.replace(request, until_ms=request.until_ms - 1)
        return matches(row, type, request, snapshot)

    garden.replace(bulk, "_matches", earlier)


@bug
def time_of_cut_is_the_clock(sim: "Simulation", garden: Garden) -> None:
    """T is what the clock says, though lastUpdated may be ahead of it."""
    cut = MemoryBulk._cut

    def by_clock(self: MemoryBulk, job: Any) -> Snapshot:
        if job not in self._store.pins:
            snapshot = cut(self, job)
            now_ms = self._process.world.clock.now_ms()
            self._store.pins[job].snapshot = Snapshot(snapshot.store, snapshot.seq, now_ms)
        return self._store.pins[job].snapshot

    garden.replace(MemoryBulk, "_cut", by_clock)


@bug
def write_forgets_the_cut(sim: "Simulation", garden: Garden) -> None:
    """A write after a kick-off takes the same lastUpdated as its transactionTime."""
    garden.replace(
        resources, "_write_time", lambda store, clock: max(clock.now_ms(), store.last_ms)
    )


@bug
def tenants_share_a_store(sim: "Simulation", garden: Garden) -> None:
    """An export reads the tenant that was used last in this process."""
    seen: list[Any] = []
    rows_of = bulk._rows_of

    def of_whom(store: Any, *what: Any) -> Any:
        seen.append(store)
        return rows_of(seen[-2] if len(seen) > 1 else store, *what)

    garden.replace(bulk, "_rows_of", of_whom)


# Upkeep.


@bug
def janitor_takes_current_files(sim: "Simulation", garden: Garden) -> None:
    """Files of the token that is at work count as stray."""

    def is_dead(self: Janitor, view: Any, name: Any) -> bool:
        return view is None or name.token <= view.job.token

    garden.replace(Janitor, "_is_dead", is_dead)


@bug
def janitor_forgets_what_is_recorded(sim: "Simulation", garden: Garden) -> None:
    """Everything of an older token is stray, parts that were recorded under it too."""
    find = MemoryExportUpkeep._find

    def without_parts(self: MemoryExportUpkeep, job: Any) -> Any:
        view = find(self, job)
        return None if view is None else msgspec.structs.replace(view, recorded=())

    garden.replace(MemoryExportUpkeep, "_find", without_parts)


@bug
def cancelled_jobs_keep_files(sim: "Simulation", garden: Garden) -> None:
    """The files of a cancelled job are nobody's business."""
    is_over = upkeep.MemoryExportUpkeep._is_over

    def not_cancelled(self: MemoryExportUpkeep, row: Any) -> bool:
        return row.status is not ExportStatus.CANCELLED and is_over(self, row)

    garden.replace(MemoryExportUpkeep, "_is_over", not_cancelled)


@bug
def pins_stay(sim: "Simulation", garden: Garden) -> None:
    """Nobody removes the pins of jobs that ended."""

    async def nothing(self: Janitor, *_: Any) -> None:
        await trio.lowlevel.checkpoint()

    garden.replace(Janitor, "_close_pins", nothing)
    garden.replace(Janitor, "_close_pin", nothing)


@bug
def pins_of_open_jobs_go(sim: "Simulation", garden: Garden) -> None:
    """A pin goes by its age alone."""

    async def close_old(self: Janitor) -> None:
        for tenant in await self._ports.tenants.list():
            store = await self._ports.tenants.store(tenant.id)
            for pin in await store.pins():
                if pin.age_s > self._limits.pin_orphan_seconds / 4:
                    await store.close_snapshot(pin.job)

    garden.replace(Janitor, "_close_pins", close_old)
