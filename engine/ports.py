"""The Protocols of DESIGN section 4: what the engine needs from a backend.

Small, one per role. A method that is cancelled has either happened or not
happened, and says which where that matters. Every method is a checkpoint.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from engine.clock import Clock, Entropy
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.tree import Query
from engine.model import (
    Batch,
    ExportJob,
    ExportRequest,
    ExportView,
    FileKind,
    FinalizedPart,
    Found,
    History,
    Ingested,
    Issue,
    JobId,
    Lease,
    NewExport,
    Part,
    PartEnd,
    PartKey,
    Pin,
    Prepared,
    RemovableExport,
    Snapshot,
    StoredFile,
    StoredName,
    StoreStatistics,
    Version,
    WorkerId,
    Written,
)
from engine.tenant import Tenant, TenantId, TenantKey
from engine.upkeep.ports import StoreUpkeep, StoreWorks

T = TypeVar("T")

# Resources: one object per tenant, so that no call can name another tenant's data.


class ResourceReader(Protocol):
    """Point reads of committed state."""

    async def read(self, type: str, id: str) -> Version | None:
        """The current version, a deletion included. None if there never was one."""
        ...

    async def vread(self, type: str, id: str, version: int) -> Version | None:
        """That version, a deletion included. None if there is none."""
        ...

    async def history(
        self,
        type: str | None = None,
        id: str | None = None,
        *,
        since_ms: int | None = None,
        at_ms: tuple[int, int] | None = None,
        position: int = 0,
        limit: int,
    ) -> History:
        """Versions of one resource, one type or all, newest first. `since_ms`: written at or
        after; `at_ms`: current at some time of this range, its end excluded. No page shows what
        was written after the first one was read."""
        ...

    async def statistics(self) -> StoreStatistics: ...


class ResourceWriter(Protocol):
    """Single writes. Durable when they return. Cancelled: done wholly or not at all."""

    async def create(self, resource: Prepared) -> Written:
        """Raises Conflict if the id is taken by a live resource."""
        ...

    async def update(self, resource: Prepared, *, if_match: int | None = None) -> Written:
        """Update, or create at this id. A deleted one goes on with its version numbers.
        Raises VersionMismatch if `if_match` is not the current live version."""
        ...

    async def delete(self, type: str, id: str, *, if_match: int | None = None) -> Version | None:
        """The tombstone, a new one or the one there was. None if there never was a resource.
        Raises VersionMismatch."""
        ...


class WriteSession(Protocol):
    """The store inside one atomic change: it sees what the change has done so far. Its methods
    are async because some backends wait; code that uses it waits for nothing else."""

    async def read(self, type: str, id: str) -> Version | None:
        """As ResourceReader.read."""
        ...

    async def find(self, query: Query, *, limit: int) -> Sequence[Version]:
        """Up to `limit` live matches, in the query's order; includes are not followed."""
        ...

    async def put(self, resource: Prepared) -> Written:
        """Make it the current version, whatever was there."""
        ...

    async def delete(self, type: str, id: str) -> Version | None:
        """The tombstone, a new one or the one there was. None if there never was a resource."""
        ...


class Transactions(Protocol):
    """Changes of several resources, or such as depend on what is there."""

    async def transact(
        self, work: Callable[[WriteSession], Awaitable[T]], *, size_bytes: int = 0
    ) -> T:
        """Run `work` alone in the store, commit, and return its result; durable then. What it
        raises undoes all of it. It may run more than once, so it must change nothing else.
        Cancelled: done wholly or not at all."""
        ...


class ResourceSearch(Protocol):
    """Finds live resources by the index."""

    async def search_definitions(self) -> SearchDefinitions:
        """What can be searched for at this tenant now, its own SearchParameters included."""
        ...

    async def search(self, query: Query, *, limit: int, position: bytes = b"") -> Found:
        """One page of at most `limit` matches, and what they include. Over all pages, what did
        not change since the first one was read comes exactly once, what changed and still
        matches at least once. Cancelled: the query is stopped. Raises BadParameter for a
        position that no page of this query gave."""
        ...

    async def count(self, query: Query) -> int:
        """How many match, exactly."""
        ...


class PartStream(Protocol):
    """The bytes of one part."""

    async def read(self) -> Batch | PartEnd:
        """The next batch; PartEnd once all was given. An empty batch is not the end."""
        ...


class BulkReader(Protocol):
    """Reads a whole snapshot, in parts, from any connection, also after a crash."""

    async def open_snapshot(self, job: JobId) -> Snapshot:
        """Make the cut and pin it for this job, in one durable transaction. The same job
        gets the same snapshot again."""
        ...

    async def close_snapshot(self, job: JobId) -> None:
        """Remove the pin, if there is one."""
        ...

    async def pins(self) -> Sequence[Pin]: ...

    async def plan(
        self, request: ExportRequest, snapshot: Snapshot, part_bytes: int
    ) -> tuple[Part, ...]:
        """Output parts of about `part_bytes` of matching rows, types in alphabetical order.
        Deterministic for request and snapshot while nothing reseals extents in between,
        which is why a plan is saved. Raises SnapshotGone."""
        ...

    def stream(
        self, part: Part, request: ExportRequest, snapshot: Snapshot
    ) -> AbstractAsyncContextManager[PartStream]:
        """The rows of a part that are visible at the snapshot, in rid order: the lines of
        two calls are equal byte for byte. Leaving the block stops the query. Raises
        SnapshotGone."""
        ...


class Packer(Protocol):
    """Makes batches ready for a store, so that its writer has little left to do. May be pickled,
    for a process of our own: it may hold the store's secrets."""

    def pack(self, resources: Sequence[Prepared]) -> bytes:
        """What BulkWriter.ingest_packed takes for a batch. Blocks."""
        ...


class BulkWriter(Protocol):
    """Takes resources in by the batch."""

    async def ingest(self, resources: Sequence[Prepared]) -> Ingested:
        """Store a batch, in order, in one durable transaction. What is equal to the current
        version but for versionId and lastUpdated makes no new version. An id that comes
        twice in a batch is written twice. The batch should hold at most about 4 MiB."""
        ...

    async def packer(self) -> Packer:
        """Packs batches of this store. What one packed before the tenant's SearchParameters
        changed is taken too, but costs the writer more."""
        ...

    async def ingest_packed(self, batches: Sequence[bytes]) -> Ingested:
        """As `ingest`, of batches that were packed, in order, in one durable transaction."""
        ...


class TenantStore(
    ResourceReader,
    ResourceWriter,
    Transactions,
    ResourceSearch,
    BulkReader,
    BulkWriter,
    StoreUpkeep,
    Protocol,
):
    """All that one tenant's store does."""


class Tenants(Protocol):
    """The registry of tenants and the way to their stores."""

    async def get(self, tenant: TenantId) -> Tenant:
        """Raises NotFound."""
        ...

    async def ensure(self, tenant: TenantId) -> Tenant:
        """The tenant, created if it is new."""
        ...

    async def list(self) -> Sequence[Tenant]: ...

    async def store(self, tenant: TenantId) -> TenantStore:
        """Raises NotFound, StoreUnavailable, StoreDamaged, SchemaTooNew."""
        ...


# Jobs: three sides.


class ExportJobs(Protocol):
    """The side of the web. Jobs that their owner deleted are not found here."""

    async def start(self, job: NewExport, *, open_max: int) -> ExportJob:
        """Record an accepted job, durably. Raises TooMany if the tenant has `open_max` jobs
        that have not ended (checked in the same transaction)."""
        ...

    async def get(self, tenant: TenantId, job: JobId) -> ExportJob:
        """Raises NotFound, also for another tenant's job."""
        ...

    async def list(self, tenant: TenantId | None, *, limit: int = 100) -> Sequence[ExportJob]:
        """Newest first; of all tenants if None."""
        ...

    async def parts(self, tenant: TenantId, job: JobId) -> Sequence[FinalizedPart]:
        """Recorded parts that have a file, in plan order. Raises NotFound."""
        ...

    async def part(
        self, tenant: TenantId, job: JobId, kind: FileKind, type: str, index: int
    ) -> FinalizedPart:
        """One recorded part that has a file. Raises NotFound."""
        ...

    async def cancel(self, tenant: TenantId, job: JobId) -> ExportJob:
        """End an open job as cancelled; an ended one stays as it is. Raises NotFound."""
        ...

    async def delete(self, tenant: TenantId, job: JobId) -> None:
        """Cancel if open, and hide for ever; its files go later. Raises NotFound."""
        ...


class Leases(Protocol):
    """The claimer's and the keeper's side, the same for every kind of job."""

    async def claim(self, worker: WorkerId, seconds: float) -> Lease | None:
        """The fairest claimable job: round robin over tenants, then the oldest. A worker
        known to be dead loses its leases at once."""
        ...

    async def heartbeat(self, lease: Lease) -> None:
        """Renew by `lease.seconds` of the store's clock. A late renewal counts if nobody
        claimed in between. Raises LeaseLost, JobCancelled."""
        ...

    async def check(self, lease: Lease) -> None:
        """Raise LeaseLost or JobCancelled if a renewal would. Writes nothing."""
        ...

    async def release(self, lease: Lease, *, delay_s: float = 0.0, reason: str = "") -> None:
        """Give the job back with its attempt, claimable after `delay_s`. If the lease is lost
        already, nothing happens."""
        ...

    async def wait_changed(self, seen: int) -> int:
        """Block until the job store may have changed since `seen` (0 at first), and return
        the new mark. May wake without cause."""
        ...


class ExportWork(Protocol):
    """The worker's side. Every method but view is fenced: it happens, with a renewal, if the
    lease is held and the job is in progress; otherwise it raises LeaseLost or JobCancelled
    and nothing happened. An ambiguous commit is read back."""

    async def view(self, lease: Lease) -> ExportView: ...

    async def save_plan(self, lease: Lease, plan: tuple[Part, ...]) -> None: ...

    async def record_part(self, lease: Lease, part: FinalizedPart) -> None:
        """Recording the same part number twice is a bug, and raises AssertionError."""
        ...

    async def finish(self, lease: Lease, *, retention_s: float) -> None:
        """Only from in-progress. Repeated by the same holder: success."""
        ...

    async def fail(self, lease: Lease, issue: Issue) -> None:
        """As finish, with an error."""
        ...


class ExportUpkeep(Protocol):
    """The janitor's side."""

    async def removable(self, *, limit: int = 100) -> Sequence[RemovableExport]:
        """Ended jobs whose files may go: cancelled, failed, deleted or expired, not purged,
        and with no lease that could still be alive."""
        ...

    async def purged(self, job: JobId) -> None:
        """Its files are gone: forget its parts; a deleted job is forgotten altogether."""
        ...

    async def find(self, job: JobId) -> ExportView | None:
        """Any job, deleted ones included; None if there is no row."""
        ...


# Files.


class PartSink(Protocol):
    """One file being written."""

    async def append(self, batch: Batch) -> None:
        """Raises OutputFull, OutputUnavailable; the sink is unusable then."""
        ...

    async def finalize(self) -> StoredFile:
        """Make the file durable under its final name. Cancelled: neither name exists.
        Raises OutputFull, OutputUnavailable."""
        ...


class PartReader(Protocol):
    """One finished file being read, as it lies in the store (`StoredFile.coding`)."""

    async def read(self) -> bytes:
        """The next block of 256 KiB to 1 MiB; empty at the end. Raises OutputUnavailable."""
        ...


class OutputStore(Protocol):
    """Where finished files lie."""

    def open_part(self, key: PartKey) -> AbstractAsyncContextManager[PartSink]:
        """A new file. Leaving the block without finalize leaves nothing."""
        ...

    def read_part(
        self, file: StoredFile, *, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[PartReader]:
        """The bytes at rest from start to stop (exclusive). Raises NotFound."""
        ...

    async def jobs(self) -> Sequence[tuple[TenantKey, JobId]]:
        """Every job that has any file here, finished or not."""
        ...

    async def names(self, tenant: TenantKey, job: JobId) -> Sequence[StoredName]:
        """Every file of a job, also unfinished ones of whoever."""
        ...

    async def remove(self, location: str) -> None:
        """Delete one file; it may be gone already."""
        ...

    async def delete_job(self, tenant: TenantKey, job: JobId) -> None:
        """Delete all files of a job; there may be none."""
        ...

    async def check(self) -> None:
        """Raise OutputUnavailable or OutputFull if a part could not be written now."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """All that the engine is given. Production and simulation differ only in this."""

    tenants: Tenants
    export_jobs: ExportJobs
    export_leases: Leases
    export_work: ExportWork
    export_upkeep: ExportUpkeep
    store_works: StoreWorks
    work_leases: Leases
    outputs: OutputStore
    clock: Clock
    entropy: Entropy
