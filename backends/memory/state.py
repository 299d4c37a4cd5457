"""The world of the memory backend: what would lie on disk, and who is alive.

This is the model that the simulation and the contract tests trust, so everything is done
the obvious way. Several processes of one simulation share a world; a process that was
killed can change nothing in it any more, and what it left half done stays.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self, TypeVar

import trio

from backends.clock import StoreClock
from backends.definitions import MakerOf, ReleaseMakers, SearchSettings
from engine.errors import StoreUnavailable
from engine.fhir.search.definitions import SearchDefinitions
from engine.model import (
    ExportRequest,
    ExportStatus,
    FinalizedPart,
    Issue,
    JobId,
    Part,
    Snapshot,
    Version,
    WorkerId,
)
from engine.tenant import Tenant, TenantId, TenantKey
from engine.upkeep.ports import Standing, Task

T = TypeVar("T")

# rid = type number << 40 | seq, so that a range of rids is a run of one type in commit order.
SEQ_BITS = 40

STORE_ID_BYTES = 16


def random_store_id() -> str:
    """A new store's id."""
    return secrets.token_hex(STORE_ID_BYTES)


@dataclass
class Row:
    """One version of one resource."""

    rid: int
    seq: int
    version: Version
    replaced_by: int | None = None  # seq of the version that replaced it; None while current

    def visible(self, snapshot: Snapshot) -> bool:
        """Whether it was current, and not a deletion, at the snapshot."""
        committed = self.seq <= snapshot.seq
        current = self.replaced_by is None or self.replaced_by > snapshot.seq
        return committed and current and not self.version.deleted


@dataclass
class PinRow:
    """An open snapshot."""

    snapshot: Snapshot
    boot: str  # when it was made, by the clock that does not step
    made_ms: int


@dataclass
class StoreState:
    """One tenant's resource store."""

    id: str
    tenant: TenantId
    seq: int = 0
    cut_ms: int = 0  # the last transactionTime
    last_ms: int = 0  # the highest lastUpdated
    type_numbers: dict[str, int] = field(default_factory=dict)  # never reused
    rows: list[Row] = field(default_factory=list)  # in commit order
    versions: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    pins: dict[JobId, PinRow] = field(default_factory=dict)
    definitions: SearchDefinitions | None = None  # made when they were last asked for
    defined_by: list[bytes] = field(default_factory=list)  # the tenant's own, of those


@dataclass
class TenantRow:
    """One tenant in the registry."""

    tenant: Tenant
    store: StoreState
    claimed: int = 0  # when one of its jobs was last claimed, as a count of claims


@dataclass
class HeldLease:
    """Who holds a job, until when by the store's clock."""

    worker: WorkerId
    boot: str
    expires: int  # lease_now of that boot


@dataclass
class JobRow:
    """One export job."""

    id: JobId
    tenant: Tenant
    request: ExportRequest
    snapshot: Snapshot
    created_ms: int
    status: ExportStatus = ExportStatus.ACCEPTED
    token: int = 0
    attempt: int = 0
    lease: HeldLease | None = None
    claimable_from: int = 0  # lease_now of `claimable_boot`
    claimable_boot: str = ""  # a delay does not outlive the boot it was measured in
    reason: str = ""
    issue: Issue | None = None
    finished_ms: int | None = None
    expires_ms: int | None = None
    plan: tuple[Part, ...] | None = None
    parts: dict[int, FinalizedPart] = field(default_factory=dict)  # by number
    deleted: bool = False
    purged: bool = False


@dataclass
class WorkRow:
    """One long work on a store."""

    id: JobId
    tenant: Tenant
    task: Task
    created_ms: int
    token: int  # grows on from the tenant's work of this kind before
    standing: Standing = field(default_factory=Standing)
    status: ExportStatus = ExportStatus.ACCEPTED
    attempt: int = 0
    lease: HeldLease | None = None
    claimable_from: int = 0
    claimable_boot: str = ""
    reason: str = ""
    issue: Issue | None = None
    finished_ms: int | None = None
    deleted: bool = False  # as of jobs; none is


@dataclass
class FileRow:
    """One file of the output store, by its name."""

    tenant: TenantKey
    job: JobId
    token: int
    data: bytearray | bytes
    finished: bool
    touched_ms: int


@dataclass(kw_only=True)
class MemoryWorld:
    """All state that outlives a process, and the clock and chance it runs by."""

    clock: StoreClock
    new_key: Callable[[], str]  # of tenants
    new_id: Callable[[], str] = random_store_id
    batch_rows: Callable[[], int] = lambda: 100  # of the next batch of a stream; 0 is allowed
    makers: MakerOf = field(default_factory=lambda: ReleaseMakers(SearchSettings()))
    piece_bytes_max: int = 1 << 20  # a longer line comes in several batches
    files_bytes_max: int | None = None  # the disk is full beyond this
    tenants: dict[TenantId, TenantRow] = field(default_factory=dict)
    jobs: dict[JobId, JobRow] = field(default_factory=dict)  # in the order they were started
    works: dict[JobId, WorkRow] = field(default_factory=dict)  # in the order they were asked for
    files: dict[str, FileRow] = field(default_factory=dict)
    claims: int = 0  # ever made
    mark: int = 1  # grows when the job store changed
    processes: dict[WorkerId, "Process"] = field(default_factory=dict)
    _changed: trio.Event = field(default_factory=trio.Event)

    def worker_alive(self, worker: WorkerId) -> bool:
        """False once a worker is known to be dead. An unknown one may live elsewhere."""
        process = self.processes.get(worker)
        return process is None or not process.dead

    def kill(self, worker: WorkerId) -> None:
        """End a process as SIGKILL does: from now on nothing it calls has any effect, its
        unfinished files stay, and its leases may be taken at once."""
        self.processes[worker].dead = True
        self.changed()

    def lose_power(self) -> None:
        """Kill every process, and lose all that was not durable: files not finalized."""
        for worker in self.processes:
            self.kill(worker)
        self.files = {name: file for name, file in self.files.items() if file.finished}

    def changed(self) -> None:
        """Wake whoever waits for a change of the job store."""
        self.mark += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self, seen: int) -> int:
        """Block until the mark is beyond `seen`."""
        while self.mark <= seen:
            await self._changed.wait()
        return self.mark


@dataclass
class Process:
    """One process that has the world open. Every call goes through `effect`."""

    world: MemoryWorld
    worker: WorkerId
    dead: bool = False
    open_streams: int = 0
    open_sinks: int = 0
    open_readers: int = 0

    @classmethod
    def start(cls, world: MemoryWorld, worker: WorkerId) -> Self:
        """A new process. One of the same name must have ended: it is dead from now on."""
        if worker in world.processes:
            world.kill(worker)
        process = cls(world, worker)
        world.processes[worker] = process
        return process

    async def effect(self, function: Callable[[], T]) -> T:
        """Run it between two checkpoints. What happened is reported, cancelled or not: the
        caller meets the cancel at its next checkpoint."""
        await trio.lowlevel.checkpoint()
        self.require_life()
        result = function()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    async def look(self, function: Callable[[], T]) -> T:
        """Run what only reads between two checkpoints."""
        await trio.lowlevel.checkpoint()
        self.require_life()
        result = function()
        await trio.lowlevel.checkpoint()
        return result

    def require_life(self) -> None:
        """Raise StoreUnavailable if this process was killed."""
        if self.dead:
            raise StoreUnavailable("this process has ended")

    def open_things(self) -> Iterator[str]:
        """What is open and should not be once all work has ended."""
        for name in ("open_streams", "open_sinks", "open_readers"):
            if getattr(self, name):
                yield f"{getattr(self, name)} {name.replace('_', ' ')}"
