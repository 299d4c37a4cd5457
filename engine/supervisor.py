"""Supervisor: the nursery tree. Starts the actors, watches, restarts and drains them.

    supervisor nursery
      |- claimer      takes jobs while there is room; stops first when draining
      |- janitor      removes what nobody will read
      |- works        claims long works on stores, and carries them out
      |- reindexer    asks for such a work where an index lacks something
      |- commands     what the web and the command line say
      `- one ExportRun per claimed job, each with a nursery of its own

An actor that fails for a passing reason is started again; one that fails for another
reason ends the supervisor, and so the process, whose leases then expire.
"""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec
import structlog
import trio

from engine.errors import PenstockError, Transient
from engine.export.job import ExportRun
from engine.failure import decisive
from engine.lease import Claimer, backoff
from engine.limits import EngineLimits
from engine.messages import CancelJob, Command, Drain, Wake
from engine.model import JobId, Lease, WorkerId
from engine.ports import Ports
from engine.upkeep.janitor import Janitor
from engine.upkeep.reindex import Reindexer
from engine.upkeep.works import StoreWorker

log = structlog.get_logger()

# A command only hastens what polling finds, so those that do not fit are dropped.
COMMANDS_WAITING_MAX = 256


class SupervisorStatistics(msgspec.Struct, frozen=True):
    """A look at the supervisor."""

    jobs_running: int
    jobs_claimed: int
    actor_restarts: int
    draining: bool


class Supervisor:
    """Owns every long-lived task of one worker process."""

    def __init__(self, ports: Ports, worker: WorkerId, limits: EngineLimits) -> None:
        limits.check()
        self._ports = ports
        self._limits = limits
        self._runs: dict[JobId, ExportRun] = {}
        self._parked: dict[JobId, int] = {}
        self._claimed = 0
        self._restarts = 0
        self._idle = trio.Event()
        self._drain = trio.Event()
        self._commands, self._inbox = trio.open_memory_channel[Command](COMMANDS_WAITING_MAX)
        self._jobs: trio.Nursery | None = None
        self._janitor = Janitor(ports, limits)
        self._works = StoreWorker(ports, worker, limits)
        self._reindexer = Reindexer(ports, limits)
        self._claimer = Claimer(
            ports.export_leases,
            worker,
            clock=ports.clock,
            entropy=ports.entropy,
            limits=limits,
            start=self._start_run,
        )

    @property
    def draining(self) -> bool:
        """Whether it was told to stop."""
        return self._drain.is_set()

    def statistics(self) -> SupervisorStatistics:
        return SupervisorStatistics(
            jobs_running=len(self._runs),
            jobs_claimed=self._claimed,
            actor_restarts=self._restarts,
            draining=self.draining,
        )

    def tell(self, command: Command) -> None:
        """Give a command. Never blocks; a Drain is never lost, others may be."""
        if isinstance(command, Drain):
            self._drain.set()
            return
        try:
            self._commands.send_nowait(command)
        except trio.WouldBlock:
            log.warning("command dropped", command=type(command).__name__)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until a Drain was obeyed. Raises what an actor died of.

        Cancelled: every job is released at once.
        """
        async with trio.open_nursery() as jobs:
            self._jobs = jobs
            async with trio.open_nursery() as actors:
                actors.start_soon(self._supervise, "claimer", self._claimer.run)
                actors.start_soon(self._supervise, "janitor", self._janitor.run)
                actors.start_soon(self._supervise, "works", self._works.run)
                actors.start_soon(self._supervise, "reindexer", self._reindexer.run)
                actors.start_soon(self._supervise, "commands", self._obey)
                task_status.started()
                await self._drain.wait()
                actors.cancel_scope.cancel()
            log.info("draining", jobs=len(self._runs))
            with trio.move_on_after(self._limits.drain_seconds):
                await self._wait_idle()
            jobs.cancel_scope.cancel()
        log.info("drained")

    async def _supervise(self, name: str, actor: Callable[[], Awaitable[NoReturn]]) -> None:
        failures = 0
        while True:
            began = self._ports.clock.boottime()
            try:
                await actor()
            except* Transient as group:
                # A cancel that came with it goes on by itself.
                log.warning("actor failed", actor=name, reason=str(decisive(group)))
            if self._ports.clock.boottime() - began > self._limits.backoff_seconds_max:
                failures = 0
            failures += 1
            self._restarts += 1
            delay = backoff(failures, limits=self._limits, entropy=self._ports.entropy)
            await self._ports.clock.sleep(delay)

    async def _obey(self) -> NoReturn:
        while True:
            match await self._inbox.receive():
                case Wake():
                    self._claimer.wake_nowait()
                case CancelJob(job=job):
                    if run := self._runs.get(job):
                        run.look_nowait()
                    self._janitor.wake_nowait()
                case Drain():
                    raise AssertionError("tell() keeps a Drain apart")

    def _start_run(self, lease: Lease, claimed_at: float) -> None:
        assert self._jobs is not None
        self._claimed += 1
        run = ExportRun(
            self._ports,
            self._limits,
            lease,
            claimed_at=claimed_at,
            parked=self._parked.get(lease.job, 0),
        )
        # Claimed again while our own lost attempt is still stopping: both are ours to await.
        self._runs[lease.job] = run
        self._jobs.start_soon(self._run_job, lease.job, run)

    async def _run_job(self, job: JobId, run: ExportRun) -> None:
        try:
            self._remember_parking(job, await run.run())
        finally:
            if self._runs.get(job) is run:
                del self._runs[job]
            if not self._runs:
                self._idle.set()
            self._claimer.ended_nowait()

    def _remember_parking(self, job: JobId, why: PenstockError | None) -> None:
        if isinstance(why, Transient):
            self._parked[job] = self._parked.get(job, 0) + 1
        else:
            self._parked.pop(job, None)

    async def _wait_idle(self) -> None:
        while self._runs:
            self._idle = trio.Event()
            await self._idle.wait()
