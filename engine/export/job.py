"""ExportRun: one claimed export job, from its lease to its end.

Everything the job does runs in its own nursery beside its lease keeper, so losing the
lease, a cancel and a shutdown all stop the work in the same way.
"""

from collections import deque

import structlog
import trio

from engine.errors import (
    PenstockError,
    Permanent,
    SnapshotGone,
    Transient,
)
from engine.export.planner import make_plan
from engine.export.producer import BATCHES_WAITING_MAX, BatchSender, Producer
from engine.export.settle import INTERNAL_ERROR, Settlement
from engine.export.writer import Writer
from engine.failure import decisive
from engine.lease import LeaseKeeper
from engine.limits import EngineLimits
from engine.model import Batch, ExportJob, FinalizedPart, Lease, Part, PartEnd
from engine.ports import Ports, TenantStore

log = structlog.get_logger()


class ExportRun:
    """Owns one lease. `parked` is how often this process gave the job back in a row."""

    def __init__(
        self, ports: Ports, limits: EngineLimits, lease: Lease, *, claimed_at: float, parked: int
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._lease = lease
        self._settlement = Settlement(ports, limits, lease, parked=parked)
        self._moves = 0
        self._streams = trio.Semaphore(limits.lanes_per_job)
        self._keeper = LeaseKeeper(
            ports.export_leases,
            lease,
            claimed_at=claimed_at,
            clock=ports.clock,
            limits=limits,
            progress=lambda: self._moves,
        )
        self._log = log.bind(job=lease.job, token=lease.token, attempt=lease.attempt)

    def look_nowait(self) -> None:
        """The job may have been cancelled: ask."""
        self._keeper.look_nowait()

    async def run(self) -> PenstockError | None:
        """Work until the job ends or is not ours any more; says why, if it did not finish.

        Cancelled: the job is released, claimable at once, with its attempt.
        """
        try:
            await self._work_under_lease()
        except BaseException as error:
            cause = decisive(error)
            if cause is not None and not isinstance(cause, Exception):
                raise
            complete = False
            with trio.move_on_after(self._limits.commit_seconds, shield=True):
                complete = await self._settlement.settle(cause)
            if cause is None:
                raise
            if not complete:
                return cause if isinstance(cause, PenstockError) else Permanent(INTERNAL_ERROR)
        self._log.info("export complete")
        return None

    async def _work_under_lease(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            await self._work()
            nursery.cancel_scope.cancel()

    async def _work(self) -> None:
        work = self._ports.export_work
        view = await work.view(self._lease)
        if self._lease.attempt > self._limits.attempts_max:
            raise Permanent(
                f"given up after {self._limits.attempts_max} attempts whose worker died; "
                "see the server's log and start the export again"
            )
        store = await self._ports.tenants.store(self._lease.tenant)
        plan = view.plan
        if plan is None:
            plan = await make_plan(store, view.job.request, view.job.snapshot, self._limits)
            await work.save_plan(self._lease, plan)
        recorded = {part.number: part for part in view.recorded}
        missing = deque(
            # The largest first: what is left over at the end is small.
            sorted(
                (part for part in plan if part.number not in recorded),
                key=lambda part: -part.bytes_estimate,
            )
        )
        self._log.info("export begins", parts=len(plan), missing=len(missing))
        async with trio.open_nursery() as nursery:
            # Twice as many as may read: the others make their parts durable meanwhile.
            for _ in range(min(2 * self._limits.lanes_per_job, len(missing))):
                nursery.start_soon(self._lane, store, view.job, missing, recorded)
        await self._verify_pin(store, view.job)
        await self._verify_files(view.job, recorded)
        await work.finish(self._lease, retention_s=self._limits.retention_seconds)
        self._keeper.stop_nowait()
        await self._unpin(store)

    async def _lane(
        self,
        store: TenantStore,
        job: ExportJob,
        missing: deque[Part],
        recorded: dict[int, FinalizedPart],
    ) -> None:
        """Take parts from the shared list until there are none."""
        while True:
            await self._streams.acquire()
            if not missing:
                self._streams.release()
                return
            part = missing.popleft()
            recorded[part.number] = await self._make_part(store, job, part)

    async def _make_part(self, store: TenantStore, job: ExportJob, part: Part) -> FinalizedPart:
        send, receive = trio.open_memory_channel[Batch | PartEnd](BATCHES_WAITING_MAX)
        producer = Producer(
            store, part, request=job.request, snapshot=job.snapshot, moved=self._moved
        )
        writer = Writer(
            self._ports.outputs,
            self._ports.export_work,
            part,
            lease=self._lease,
            tenant=job.tenant_key,
            moved=self._moved,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._produce, producer, send)
            return await writer.run(receive)
        raise AssertionError("a part is recorded, or its failure propagates")

    async def _produce(self, producer: Producer, batches: BatchSender) -> None:
        """Read a part to its end; then the next one may be read, while this is written."""
        await producer.run(batches)
        self._streams.release()

    async def _verify_pin(self, store: TenantStore, job: ExportJob) -> None:
        """The snapshot is still pinned, so it was while the parts were made: a pin that was
        given up, because its kick-off took too long to become a job, never comes back."""
        if all(pin.job != job.id for pin in await store.pins()):
            raise SnapshotGone(
                "the state of the store that this export was to show was given up before the "
                "export was recorded; start the export again"
            )

    async def _verify_files(self, job: ExportJob, recorded: dict[int, FinalizedPart]) -> None:
        """Every recorded file is still there: also those of owners before us."""
        names = await self._ports.outputs.names(job.tenant_key, job.id)
        there = {name.location for name in names if name.finished}
        for part in recorded.values():
            if part.file is not None and part.file.location not in there:
                raise Permanent(
                    "a finished file of this export is gone from the output store; "
                    "start the export again"
                )

    async def _unpin(self, store: TenantStore) -> None:
        try:
            await store.close_snapshot(self._lease.job)
        except Transient as error:
            # The job is complete whatever becomes of its pin, which the janitor finds.
            self._log.warning("the pin stays for now", reason=str(error))

    def _moved(self) -> None:
        self._moves += 1
