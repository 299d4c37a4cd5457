"""Planted bugs: parts, their files, and lost answers."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from backends.memory.outputs import MemorySink
from backends.memory.work import MemoryExportWork
from engine.errors import Transient
from engine.export import writer as export_writer
from engine.export.job import ExportRun
from engine.export.producer import Producer
from engine.export.writer import Writer
from engine.model import Batch, ExportView, FinalizedPart, PartEnd
from tests.simulation.ports import Gated

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

from tests.simulation.mutation import Garden, bug

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
