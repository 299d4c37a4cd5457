"""Observer: sees every change of the world at the instant it happens, and judges it.

It keeps its own books (who holds which job, until when, how many attempts) and compares
them with what the backend did, so that backend and engine are both under test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from backends.memory.state import FileRow, JobRow, PinRow, Process
from engine.model import ExportStatus, FinalizedPart, JobId, Part, PartKey
from tests.simulation.gate import SLOW_SECONDS

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation
    from tests.simulation.worker import Worker

T = TypeVar("T")

CANCEL_SECONDS = 1.0  # promise 5


class PromiseBroken(BaseException):
    """What the simulation was looking for. No Exception, so that nothing handles it."""


@dataclass(frozen=True)
class Seen:
    """A job as it was after the last change."""

    status: ExportStatus
    token: int
    attempt: int
    holder: str | None
    lease: object | None
    plan: tuple[Part, ...] | None
    parts: int
    purged: bool
    cut: object


@dataclass
class Books:
    """What the observer knows about a job by itself."""

    held_until_ms: int = 0  # lease_now
    held_boot: str = ""
    claims: int = 0
    releases: int = 0
    recorded_at_claim: frozenset[tuple[str, str, int]] = frozenset()


class WatchedFiles(dict[str, FileRow]):
    """The output store's files; every change passes the observer."""

    def __init__(self, observer: "Observer") -> None:
        super().__init__()
        self._observer = observer

    def __setitem__(self, name: str, file: FileRow) -> None:
        self._observer.file_written(name)
        super().__setitem__(name, file)

    def __delitem__(self, name: str) -> None:
        self._observer.file_removed(name)
        super().__delitem__(name)

    def pop(self, name: str, *default: Any) -> Any:
        self._observer.file_removed(name)
        return super().pop(name, *default)


class WatchedPins(dict[JobId, PinRow]):
    """The pins of a store; every removal passes the observer."""

    def __init__(self, observer: "Observer") -> None:
        super().__init__()
        self._observer = observer

    def pop(self, job: JobId, *default: Any) -> Any:
        if job in self:
            self._observer.pin_removed(job, self[job])
        return super().pop(job, *default)


class Observer:
    """Judges changes. A broken promise is kept in `broken`, and ends the run."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._seen: dict[JobId, Seen] = {}
        self._books: dict[JobId, Books] = {}
        self.recorded: dict[str, JobId] = {}  # locations that readers may ask for
        self._cancelled_at: dict[JobId, float] = {}
        self._begun: dict[JobId, trio.Event] = {}
        self._nearly_done: dict[JobId, trio.Event] = {}
        self.unpinned: set[JobId] = set()  # their pin was given up before they became jobs
        self.broken: list[str] = []
        self.jobs = 0
        self.completed = 0
        self.resumed = 0

    def watch_process(self, process: Process) -> None:
        """See the effects of this process from now on."""
        original = process.effect

        async def effect(function: Callable[[], T]) -> T:
            def observed() -> T:
                try:
                    return function()
                finally:
                    self._look(process.worker)

            return await original(observed)

        process.effect = effect  # type: ignore[method-assign,assignment]

    def breach(self, promise: str) -> None:
        """Note a broken promise. The run goes on: it may be in the middle of an effect."""
        self._sim.trace("observer", "BROKEN", promise, "")
        self.broken.append(promise)
        self._sim.stop()

    async def wait_begun(self, job: JobId) -> None:
        """Block until a part of a job is recorded."""
        await self._begun.setdefault(job, trio.Event()).wait()

    async def wait_nearly_done(self, job: JobId) -> None:
        """Block until every part of a job is recorded: only its finish is missing."""
        await self._nearly_done.setdefault(job, trio.Event()).wait()

    # Jobs.

    def _look(self, worker: str) -> None:
        for row in self._sim.world.jobs.values():
            before = self._seen.get(row.id)
            if before is None:
                self.jobs += 1
                self._books[row.id] = Books()
                if row.id not in self._sim.store_state(row.tenant.id).pins:
                    self.unpinned.add(row.id)
                self._seen[row.id] = _seen(row)
                if row.status is not ExportStatus.ACCEPTED or row.token or row.parts:
                    self.breach(f"job {row.id[:6]} did not begin as accepted")
            elif not _same(before, row):
                after = _seen(row)
                self._judge(row, before, after, worker)
                self._seen[row.id] = after
        for job in [job for job in self._seen if job not in self._sim.world.jobs]:
            before = self._seen.pop(job)
            if not (before.status.ended and before.purged):
                self._judge_forgotten(job, before)

    def _judge_forgotten(self, job: JobId, before: Seen) -> None:
        # Purged and forgotten in one effect: files must be gone all the same.
        if not before.status.ended:
            self.breach(f"open job {job[:6]} was forgotten")
        self._forget_files(job)

    def _judge(self, row: JobRow, before: Seen, after: Seen, worker: str) -> None:
        self._sim.trace(worker, "changes", row.id[:6], f"{before.status}->{after.status}")
        books, name = self._books[row.id], row.id[:6]
        if before.status.ended and after.status is not before.status:
            self.breach(f"job {name} left {before.status} for {after.status}")
        if after.cut != before.cut:
            self.breach(f"job {name} changed its snapshot or request")
        if before.plan is not None and after.plan != before.plan:
            self.breach(f"job {name} changed its plan")
        if after.token != before.token:
            self._judge_claim(row, before, after, books)
        else:
            self._judge_lease(row, before, after, books, worker)
        self._judge_work(row, before, after, worker)

    def _judge_claim(self, row: JobRow, before: Seen, after: Seen, books: Books) -> None:
        name, clock = row.id[:6], self._sim.store_clock
        if after.token != before.token + 1 or after.status is not ExportStatus.IN_PROGRESS:
            self.breach(f"job {name} was claimed with token {after.token} after {before.token}")
        running = books.held_boot == clock.boot_id() and clock.lease_now() < books.held_until_ms
        if before.holder is not None and running and self._sim.is_alive(before.holder):
            self.breach(f"job {name} was claimed while {before.holder} held it")
        if before.holder is not None and self._sim.is_healthy(before.holder):
            self.breach(f"healthy worker {before.holder} lost its lease on job {name}")
        if before.status.ended:
            self.breach(f"job {name} was claimed though it is {before.status}")
        books.claims += 1
        books.recorded_at_claim = frozenset(map(_place, row.parts.values()))
        self._renew(books)
        self._judge_attempt(row, books)

    def _judge_lease(
        self, row: JobRow, before: Seen, after: Seen, books: Books, worker: str
    ) -> None:
        name = row.id[:6]
        if after.lease is before.lease:
            return
        if worker != before.holder:
            self.breach(f"{worker} touched the lease of {before.holder} on job {name}")
        if after.lease is not None:
            self._renew(books)
        elif not after.status.ended:
            books.releases += 1
        if not after.status.ended:
            self._judge_attempt(row, books)

    def _renew(self, books: Books) -> None:
        lease_ms = round(self._sim.scenario.lease_s * 1000)
        books.held_boot = self._sim.store_clock.boot_id()
        books.held_until_ms = self._sim.store_clock.lease_now() + lease_ms

    def _judge_attempt(self, row: JobRow, books: Books) -> None:
        if row.attempt != books.claims - books.releases:
            self.breach(
                f"job {row.id[:6]} counts attempt {row.attempt} after {books.claims} claims "
                f"and {books.releases} releases"
            )

    def _judge_work(self, row: JobRow, before: Seen, after: Seen, worker: str) -> None:
        name = row.id[:6]
        worked = after.plan is not before.plan or after.parts > before.parts
        if after.status is ExportStatus.CANCELLED:
            self._cancelled_at.setdefault(row.id, trio.current_time())
        finished = after.status is not before.status and after.status in (
            ExportStatus.COMPLETE,
            ExportStatus.ERROR,
        )
        if (worked or finished) and worker != before.holder:
            self.breach(f"{worker} worked on job {name}, which {before.holder} holds")
        if worked and before.status is not ExportStatus.IN_PROGRESS:
            self.breach(f"job {name} was worked on while {before.status}")
        if after.parts > before.parts:
            self._judge_parts(row)
            self._begun.setdefault(row.id, trio.Event()).set()
            if row.plan is not None and after.parts == len(row.plan):
                self._nearly_done.setdefault(row.id, trio.Event()).set()
        if after.parts < before.parts or (after.purged and not before.purged):
            if not after.purged:
                self.breach(f"job {name} lost recorded parts")
            self._forget_files(row.id)
        if finished and after.status is ExportStatus.COMPLETE:
            self._judge_complete(row)

    def _judge_parts(self, row: JobRow) -> None:
        newest = list(row.parts.values())[-1]
        if newest.token != row.token:
            self.breach(f"job {row.id[:6]} has a part of token {newest.token} under {row.token}")
        if newest.file is None:
            return
        if newest.file.location in self.recorded:
            self.breach(f"file {newest.file.location} was recorded twice")
        file = self._sim.world.files.get(newest.file.location)
        if file is None or not file.finished:
            self.breach(f"part {newest.number} of job {row.id[:6]} was recorded without its file")
        self.recorded[newest.file.location] = row.id

    def _judge_complete(self, row: JobRow) -> None:
        self.completed += 1
        if row.id not in self._sim.store_state(row.tenant.id).pins:
            self.breach(f"job {row.id[:6]} completed without its pin")
        self.resumed += len({part.token for part in row.parts.values()}) > 1
        for problem in self._sim.truth.check_manifest(row):
            self.breach(f"job {row.id[:6]} completed, but {problem}")

    # Files.

    def file_written(self, name: str) -> None:
        if name in self.recorded:
            self.breach(f"the recorded file {name} was written again")

    def file_removed(self, name: str) -> None:
        job = self.recorded.get(name)
        if job is None:
            return
        row = self._sim.world.jobs.get(job)
        if row is None or row.deleted:
            return
        if row.status is ExportStatus.IN_PROGRESS or (
            row.status is ExportStatus.COMPLETE and not self._has_expired(row)
        ):
            self.breach(f"the recorded file {name} was removed while job is {row.status}")

    def part_touched(self, key: PartKey, worker: "Worker") -> None:
        """A worker writes to a part: within a second of a cancel it may, not later."""
        if worker.blamed or key.job not in self._cancelled_at:
            return
        scenario = self._sim.scenario
        # What the simulation itself delays the keeper's question by is not the engine's.
        delays_s = 2 * scenario.latency_s + (SLOW_SECONDS if "slow" in scenario.rates else 0)
        late_s = trio.current_time() - self._cancelled_at[key.job]
        if late_s > CANCEL_SECONDS + delays_s:
            self.breach(f"{worker.name} wrote {late_s:.1f} s after job {key.job[:6]}'s cancel")

    def part_begun(self, key: PartKey) -> None:
        """A worker begins a part. The parts recorded before its claim are not made again."""
        row, books = self._sim.world.jobs.get(key.job), self._books.get(key.job)
        if row is None or books is None or row.token != key.token or row.status.ended:
            return
        if (key.kind, key.type, key.index) in books.recorded_at_claim:
            self.breach(f"job {key.job[:6]} made {key.type}-{key.index} again")

    def _has_expired(self, row: JobRow) -> bool:
        # By the wall clock, which may have stepped back since.
        return self._sim.scenario.limits.retention_seconds < 86400.0

    def _forget_files(self, job: JobId) -> None:
        for name in [name for name, owner in self.recorded.items() if owner == job]:
            del self.recorded[name]

    # Pins.

    def pin_removed(self, job: JobId, pin: PinRow) -> None:
        """Rightly so if its job ended, or did not begin for long."""
        row = self._sim.world.jobs.get(job)
        if job in self._books and (row is None or row.status.ended):
            return
        limits = self._sim.scenario.limits
        if row is None and limits.open_jobs_max < 10:
            return  # a kick-off that was one too many took its pin with it
        clock = self._sim.store_clock
        began_ms = pin.made_ms if pin.boot == clock.boot_id() else 0
        age_s = (clock.lease_now() - began_ms) / 1000
        if age_s <= limits.pin_orphan_seconds:
            self.breach(f"the pin of job {job[:6]} was removed at {age_s:.0f} s")
        elif row is not None:
            self.unpinned.add(job)  # it became a job after the janitor had asked

    # Workers.

    def drained(self, worker: "Worker", process: Process) -> None:
        """A worker has ended by itself: it was told to, in time, and left nothing behind."""
        since = worker.draining_since
        if since is None:
            self.breach(f"{worker.name} ended without being told to")
            return
        if worker.blamed or self._sim.cut_short:
            return
        limits = self._sim.scenario.limits
        took, bound = trio.current_time() - since, limits.drain_seconds + limits.commit_seconds
        if took > bound + 5:
            self.breach(f"{worker.name} took {took:.1f} s to drain")
        if process.open_streams or process.open_sinks:  # readers are the clients'
            self.breach(f"{worker.name} drained and left a stream or a file open")
        for row in self._sim.world.jobs.values():
            if row.lease is not None and row.lease.worker == worker.name and not row.status.ended:
                self.breach(f"{worker.name} drained and still holds job {row.id[:6]}")


def _seen(row: JobRow) -> Seen:
    return Seen(
        row.status,
        row.token,
        row.attempt,
        None if row.lease is None else row.lease.worker,
        row.lease,
        row.plan,
        len(row.parts),
        row.purged,
        (row.snapshot, row.request),
    )


def _same(before: Seen, row: JobRow) -> bool:
    return (
        before.status is row.status
        and before.token == row.token
        and before.attempt == row.attempt
        and before.lease is row.lease
        and before.plan is row.plan
        and before.parts == len(row.parts)
        and before.purged == row.purged
    )


def _place(part: FinalizedPart) -> tuple[str, str, int]:
    return (part.kind, part.type, part.index)
