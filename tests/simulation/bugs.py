"""Planted bugs: each a small change of engine or backend that the simulation must notice.

The silence of a simulation proves nothing until it has been seen to speak. Every bug here
was made by somebody, or nearly, in a system of this kind.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from backends.memory import bulk, leases, resources, upkeep, work
from backends.memory.bulk import MemoryBulk
from backends.memory.leases import MemoryLeases
from backends.memory.outputs import MemorySink
from backends.memory.state import HeldLease, Row
from backends.memory.upkeep import MemoryExportUpkeep
from backends.memory.work import MemoryExportWork
from engine.errors import JobCancelled, Transient
from engine.export import writer as export_writer
from engine.export.job import ExportRun
from engine.export.producer import Producer
from engine.export.writer import Writer
from engine.lease import LeaseKeeper
from engine.model import Batch, ExportStatus, ExportView, FinalizedPart, PartEnd, Snapshot
from engine.upkeep.janitor import Janitor
from tests.simulation.ports import Gated

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

Plant = Callable[["Simulation", "Garden"], None]


class Garden:
    """Replaces attributes, and puts back what was there."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def replace(self, owner: Any, name: str, value: Any) -> None:
        old = owner.__dict__[name]
        setattr(owner, name, value)
        self._stack.callback(setattr, owner, name, old)

    def add(self, owner: Any, name: str, value: Any) -> None:
        """As replace, where the owner inherits the name."""
        setattr(owner, name, value)
        self._stack.callback(delattr, owner, name)

    def clear(self) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Bug:
    """One mutation. Its docstring says what goes wrong."""

    name: str
    plant: Plant

    @property
    def what(self) -> str:
        return (self.plant.__doc__ or "").strip()

    @contextmanager
    def _planted(self, sim: "Simulation") -> Iterator[None]:
        garden = Garden()
        try:
            self.plant(sim, garden)
            yield
        finally:
            garden.clear()

    def planted(self, sim: "Simulation") -> AbstractContextManager[None]:
        """The bug is there within this block."""
        return self._planted(sim)


BUGS: dict[str, Bug] = {}


def bug(plant: Plant) -> Plant:
    name = plant.__name__
    BUGS[name] = Bug(name, plant)
    return plant


# Fences and leases.


@bug
def no_fence(sim: "Simulation", garden: Garden) -> None:
    """Whoever asks may record, finish and fail, as long as the job is in progress."""

    def held(world: Any, lease: Any) -> Any:
        row = world.jobs.get(lease.job)
        if row is None or row.status is not ExportStatus.IN_PROGRESS:
            raise JobCancelled("the export ended")
        return row

    garden.replace(work, "held", held)
    garden.replace(work, "renewed", held)


@bug
def exists_fence(sim: "Simulation", garden: Garden) -> None:
    """The lease is checked by one statement, and the part inserted by the next."""

    async def record_part(self: Gated, lease: Any, part: FinalizedPart) -> None:
        inner = self._inner

        def insert() -> None:
            row = inner._world.jobs[lease.job]
            row.parts[part.number] = part

        await self._gate.call("work.record_part", lambda: _look(inner, lease))
        await self._gate.call("work.record_part", lambda: inner._process.effect(insert))

    async def _look(inner: Any, lease: Any) -> None:
        await inner._process.look(lambda: work.held(inner._world, lease))

    garden.add(Gated, "record_part", record_part)


@bug
def worker_clock(sim: "Simulation", garden: Garden) -> None:
    """Leases expire by the clocks of the workers, which differ."""
    claimer: list[str] = []
    alive = leases.lease_alive
    claim = MemoryLeases._claim

    def skew_ms(worker: str) -> int:
        return sim.skew_ms(worker)

    def held_from_now(clock: Any, worker: Any, seconds: float) -> HeldLease:
        expires = clock.lease_now() + skew_ms(worker) + round(seconds * 1000)
        return HeldLease(worker, clock.boot_id(), expires)

    def lease_alive(world: Any, row: Any) -> bool:
        if not claimer or row.lease is None:
            return alive(world, row)
        by_store = row.lease
        expires = by_store.expires - skew_ms(claimer[0])
        row.lease = HeldLease(by_store.worker, by_store.boot, expires)
        try:
            return alive(world, row)
        finally:
            row.lease = by_store

    def skewed_claim(self: MemoryLeases, worker: Any, seconds: float) -> Any:
        claimer.append(worker)
        try:
            return claim(self, worker, seconds)
        finally:
            claimer.clear()

    garden.replace(leases, "_held_from_now", held_from_now)
    garden.replace(leases, "lease_alive", lease_alive)
    garden.replace(MemoryLeases, "_claim", skewed_claim)


@bug
def keeper_sleeps(sim: "Simulation", garden: Garden) -> None:
    """The keeper never renews, so a healthy worker loses what takes longer than a lease."""

    async def renew(self: LeaseKeeper) -> None:
        await trio.lowlevel.checkpoint()

    garden.replace(LeaseKeeper, "_renew", renew)


@bug
def keeper_does_not_look(sim: "Simulation", garden: Garden) -> None:
    """A cancel is noticed at the next renewal only."""

    async def blind(self: LeaseKeeper) -> None:
        await trio.sleep_forever()

    garden.replace(LeaseKeeper, "_watch", blind)
    garden.replace(LeaseKeeper, "_watch_commands", blind)


@bug
def token_stays_for_same_worker(sim: "Simulation", garden: Garden) -> None:
    """A worker that claims again gets the token that it had."""
    claim = MemoryLeases._claim
    last: dict[str, str] = {}

    def again(self: MemoryLeases, worker: Any, seconds: float) -> Any:
        lease = claim(self, worker, seconds)
        if lease is not None:
            if last.get(lease.job) == worker:
                self._world.jobs[lease.job].token -= 1
                lease = msgspec.structs.replace(lease, token=lease.token - 1)
            last[lease.job] = worker
        return lease

    garden.replace(MemoryLeases, "_claim", again)


@bug
def unfenced_release(sim: "Simulation", garden: Garden) -> None:
    """A worker that lost its lease gives back that of the next owner."""

    def release(self: MemoryLeases, lease: Any, delay_s: float, reason: str) -> None:
        row = self._world.jobs.get(lease.job)
        if row is not None and not row.status.ended and row.lease is not None:
            row.lease = None
            row.attempt -= 1

    garden.replace(MemoryLeases, "_release", release)


@bug
def release_costs_attempt(sim: "Simulation", garden: Garden) -> None:
    """A job that is given back keeps the attempt it was charged."""
    release = MemoryLeases._release

    def costly(self: MemoryLeases, lease: Any, delay_s: float, reason: str) -> None:
        row = self._world.jobs.get(lease.job)
        before = None if row is None else row.attempt
        release(self, lease, delay_s, reason)
        if row is not None and before is not None:
            row.attempt = before

    garden.replace(MemoryLeases, "_release", costly)


@bug
def drain_keeps_lease(sim: "Simulation", garden: Garden) -> None:
    """A shutdown lets its leases lapse instead of giving the jobs back."""

    async def only_when_not_draining(self: Gated, lease: Any, **options: Any) -> None:
        release = self._inner.release
        if self._gate.worker.draining_since is None:
            await self._gate.call("leases.release", lambda: release(lease, **options))

    garden.add(Gated, "release", only_when_not_draining)


@bug
def complete_overwrites_cancelled(sim: "Simulation", garden: Garden) -> None:
    """The last update asks for the token only, so a cancel is undone."""
    finish = MemoryExportWork._finish

    def careless(self: MemoryExportWork, lease: Any, retention_s: float) -> None:
        row = self._world.jobs.get(lease.job)
        if row is not None and row.status is ExportStatus.CANCELLED and row.token == lease.token:
            row.status = ExportStatus.IN_PROGRESS
        finish(self, lease, retention_s)

    garden.replace(MemoryExportWork, "_finish", careless)


# Parts and files.


@bug
def token_not_in_key(sim: "Simulation", garden: Garden) -> None:
    """Every owner of a job writes the same file names."""
    key = export_writer.PartKey

    def create(self: MemorySink) -> None:
        self._process.require_life()
        self._world.files[self._temporary] = self._file

    garden.replace(export_writer, "PartKey", lambda **fields: key(**{**fields, "token": 0}))
    garden.replace(MemorySink, "create", create)


@bug
def part_index_restarted(sim: "Simulation", garden: Garden) -> None:
    """After a resume the missing parts are numbered from 1 again."""

    def restarted(view: ExportView) -> ExportView:
        done = {part.number for part in view.recorded}
        if view.plan is None or not done:
            return view
        seen: dict[str, int] = {}
        plan = []
        for part in view.plan:
            if part.number not in done:
                seen[part.type] = seen.get(part.type, 0) + 1
                part = msgspec.structs.replace(part, index=seen[part.type])
            plan.append(part)
        return msgspec.structs.replace(view, plan=tuple(plan))

    _replace_view(garden, restarted)


@bug
def recorded_parts_made_again(sim: "Simulation", garden: Garden) -> None:
    """A resume begins from nothing, and replaces what was recorded."""
    record = MemoryExportWork._record_part

    def upsert(self: MemoryExportWork, lease: Any, part: FinalizedPart) -> None:
        if (row := self._world.jobs.get(lease.job)) is not None:
            row.parts.pop(part.number, None)
        record(self, lease, part)

    _replace_view(garden, lambda view: msgspec.structs.replace(view, recorded=()))
    garden.replace(MemoryExportWork, "_record_part", upsert)


@bug
def plan_made_again(sim: "Simulation", garden: Garden) -> None:
    """The saved plan is not looked at; another worker's settings cut other parts."""
    save = MemoryExportWork._save_plan

    def keep_first(self: MemoryExportWork, lease: Any, plan: Any) -> None:
        row = self._world.jobs.get(lease.job)
        save(self, lease, plan if row is None or row.plan is None else row.plan)

    _replace_view(garden, lambda view: msgspec.structs.replace(view, plan=None))
    garden.replace(MemoryExportWork, "_save_plan", keep_first)


def _replace_view(garden: Garden, change: Callable[[ExportView], ExportView]) -> None:
    view = MemoryExportWork._view
    garden.replace(MemoryExportWork, "_view", lambda self, lease: change(view(self, lease)))


@bug
def record_before_durable(sim: "Simulation", garden: Garden) -> None:
    """A finished file is what the page cache says: a power cut soon after takes it away."""
    sim.volatile_s = 2 * sim.scenario.lease_s


@bug
def record_before_finalize(sim: "Simulation", garden: Garden) -> None:
    """The part is recorded under the name that its file is about to get."""
    late: dict[str, MemorySink] = {}
    discard = MemorySink.discard

    async def finalize_later(self: MemorySink) -> Any:
        await trio.lowlevel.checkpoint()
        file = self._publish()
        row = self._world.files.pop(file.location)
        self._world.files[self._temporary] = row
        row.finished = False
        late[file.location] = self
        return file

    def keep(self: MemorySink) -> None:
        if self not in late.values():
            discard(self)

    async def record_then_finalize(self: Gated, lease: Any, part: FinalizedPart) -> None:
        await _record(self, lease, part)
        if part.file is not None:
            await self._gate.before("sink.finalize")
            sink = late.pop(part.file.location)
            row = sink._world.files.pop(sink._temporary)
            row.finished = True
            sink._world.files[sink._location] = row

    garden.replace(MemorySink, "finalize", finalize_later)
    garden.replace(MemorySink, "discard", keep)
    garden.add(Gated, "record_part", record_then_finalize)


async def _record(port: Gated, lease: Any, part: FinalizedPart) -> None:
    record = port._inner.record_part
    await port._gate.call("work.record_part", lambda: record(lease, part))


@bug
def lost_answer_means_not_done(sim: "Simulation", garden: Garden) -> None:
    """A record whose answer was lost is sent again, as if it had not happened."""

    async def insist(self: Gated, lease: Any, part: FinalizedPart) -> None:
        try:
            await _record(self, lease, part)
        except Transient:
            await _record(self, lease, part)

    garden.add(Gated, "record_part", insist)


@bug
def lost_answer_means_done(sim: "Simulation", garden: Garden) -> None:
    """A record whose answer was lost is taken to have happened."""

    async def assume(self: Gated, lease: Any, part: FinalizedPart) -> None:
        with suppress(Transient):
            await _record(self, lease, part)

    garden.add(Gated, "record_part", assume)


@bug
def end_of_channel_is_success(sim: "Simulation", garden: Garden) -> None:
    """A producer that fails just ends, and the writer takes what it got for the part."""
    run, following = Producer.run, Writer._next

    async def die_silently(self: Producer, batches: Any) -> None:
        try:
            await run(self, batches)
        except Transient:
            return

    async def end_is_end(self: Writer, batches: Any) -> Batch | PartEnd:
        try:
            return await following(self, batches)
        except export_writer.PartIncomplete:
            return PartEnd(self._rows, self._bytes)

    garden.replace(Producer, "run", die_silently)
    garden.replace(Writer, "_next", end_is_end)


@bug
def failed_part_is_skipped(sim: "Simulation", garden: Garden) -> None:
    """A part that failed is left out, and the job completes without it."""
    make = ExportRun._make_part

    async def shrug(self: ExportRun, store: Any, job: Any, part: Any) -> Any:
        try:
            return await make(self, store, job, part)
        except* Transient:
            empty = {"rows": 0, "token": self._lease.token, "file": None}
            fields = {name: getattr(part, name) for name in ("number", "kind", "type", "index")}
        return FinalizedPart(**fields, **empty)

    garden.replace(ExportRun, "_make_part", shrug)


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
