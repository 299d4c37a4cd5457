"""The values that actors, the web and the backends exchange. All frozen.

Names follow DESIGN section 3. Times are milliseconds since 1970 UTC (`_ms`),
sizes are bytes (`_bytes`).
"""

import enum
from typing import NewType

import msgspec

from engine.errors import IssueCode
from engine.fhir.search.rows import Rows
from engine.instant import format_instant
from engine.tenant import TenantId, TenantKey

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)

_NO_INSTANT = format_instant(0)


class ExportStatus(enum.StrEnum):
    """Life of an export job; the last three are final."""

    ACCEPTED = "accepted"
    IN_PROGRESS = "in-progress"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in _ENDED


_ENDED = frozenset({ExportStatus.COMPLETE, ExportStatus.ERROR, ExportStatus.CANCELLED})


class ExportLevel(enum.StrEnum):
    """What the export is of (bulk-data.md E10)."""

    SYSTEM = "system"


class FileKind(enum.StrEnum):
    """Which array of the manifest a file is named in."""

    OUTPUT = "output"
    ERROR = "error"
    DELETED = "deleted"


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """One issue of an OperationOutcome."""

    severity: str = "error"  # fatal, error, warning, information
    code: IssueCode = "processing"
    diagnostics: str
    expression: str | None = None


# Exports.


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for, checked at kick-off. The same request and snapshot give the
    same bytes, whoever executes it and however often."""

    level: ExportLevel = ExportLevel.SYSTEM
    types: tuple[str, ...] = ()  # empty: every type that the store holds
    since_ms: int | None = None  # exported if lastUpdated > since (E27)
    until_ms: int | None = None  # exported if lastUpdated <= until (D21)
    output_format: str = "application/fhir+ndjson"
    url: str = ""  # the kick-off URL, for the manifest's `request` (E58)
    issues: tuple[Issue, ...] = ()  # what lenient handling let pass (E24)
    separate_status: bool = False  # polls answer the job's status in a header (E23)


class Snapshot(msgspec.Struct, frozen=True):
    """A state of one tenant's store: the cut of DESIGN 6."""

    store: str  # the store's id: a restored or replaced store has another
    seq: int  # visible: what was committed up to and including this
    t_ms: int  # transactionTime, the same instant


class Pin(msgspec.Struct, frozen=True):
    """An open snapshot as the resource store remembers it, job row or not."""

    job: JobId
    snapshot: Snapshot
    age_s: float  # by the store's clock


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one producer reads and one writer writes: a range of rids of one type.

    The unit of parallelism, progress, retry and resume.
    """

    number: int  # place in the plan, from 0; unique in the job
    kind: FileKind = FileKind.OUTPUT
    type: str  # of the resources in the file
    index: int  # from 1 within kind and type: the n in {Type}-{n}.ndjson
    first: int = 0  # rid, inclusive
    last: int = 0  # rid, inclusive
    rows_estimate: int = 0
    bytes_estimate: int = 0


class PartKey(msgspec.Struct, frozen=True, kw_only=True):
    """Names one attempt at one part. Two owners of a job never share a key (DESIGN 9)."""

    tenant: TenantKey
    job: JobId
    kind: FileKind
    type: str
    index: int
    token: int


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A finished file as its output store describes it."""

    location: str  # opaque to all but the output store
    bytes: int  # of the NDJSON before any coding
    sha256: str  # hex, of the NDJSON before any coding
    coding: str = ""  # content coding at rest: "" or "gzip"
    stored_bytes: int  # as it lies there
    stored_sha256: str  # hex, as it lies there


class StoredName(msgspec.Struct, frozen=True, kw_only=True):
    """A file that lies in an output store, for the janitor to judge."""

    location: str
    token: int  # of the lease under which it was begun
    finished: bool  # False: a temporary name
    age_s: float  # since it was last written, by the store's clock


class FinalizedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part that a job has recorded, or is about to."""

    number: int
    kind: FileKind
    type: str
    index: int
    rows: int
    token: int  # of the lease under which it was written
    file: StoredFile | None  # None: the part turned out to have no rows


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. Derived from its plan and its recorded parts, never counted up."""

    parts_done: int = 0
    parts_total: int = 0  # 0 until there is a plan
    rows_done: int = 0
    bytes_done: int = 0
    bytes_estimate: int = 0  # of the whole plan


class NewExport(msgspec.Struct, frozen=True, kw_only=True):
    """A job about to be started."""

    id: JobId
    tenant: TenantId
    request: ExportRequest
    snapshot: Snapshot


class ExportJob(msgspec.Struct, frozen=True, kw_only=True):
    """An export job as its store shows it."""

    id: JobId
    tenant: TenantId
    tenant_key: TenantKey
    status: ExportStatus
    request: ExportRequest
    snapshot: Snapshot
    created_ms: int
    finished_ms: int | None = None
    expires_ms: int | None = None  # when the files go; set when complete
    attempt: int = 0
    token: int = 0
    reason: str = ""  # why an open job is waiting
    issue: Issue | None = None  # why it failed
    progress: Progress = Progress()


class ExportView(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to go on with a job."""

    job: ExportJob
    plan: tuple[Part, ...] | None  # None: not planned yet
    recorded: tuple[FinalizedPart, ...]


class RemovableExport(msgspec.Struct, frozen=True, kw_only=True):
    """An ended job whose files nobody may read any more."""

    id: JobId
    tenant: TenantId
    tenant_key: TenantKey


# Leases.


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on a job. The store alone knows when it expires, by its own clock."""

    job: JobId
    tenant: TenantId
    worker: WorkerId
    token: int  # fencing token: grows at every claim
    attempt: int  # claims that ended without release, this one included
    seconds: float  # how long a renewal lasts


# Streams.


class Batch(msgspec.Struct, frozen=True):
    """A run of NDJSON bytes. The chunks follow one another; a line may span several of them
    and, if it is very long, several batches."""

    chunks: tuple[bytes, ...]
    rows: int  # lines that end in this batch

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.chunks))


class PartEnd(msgspec.Struct, frozen=True):
    """Always the last message of a part; a stream that ends without it is incomplete."""

    rows: int
    bytes: int


# Resources.


class Prepared(msgspec.Struct, frozen=True):
    """A checked resource, ready to be stored.

    The stored body is `head + versionId + '","lastUpdated":"' + lastUpdated + tail`, where
    head ends with `"versionId":"` and tail begins with `"`. Only the writer knows the two
    values, and puts them in without parsing.
    """

    type: str
    id: str
    head: bytes
    tail: bytes
    rows: Rows | None = None  # its index rows, if they were made ahead
    generation: int = 0  # of the search definitions that `rows` were made with

    def body(self, version: int, instant: str) -> bytes:
        """The line to be stored, without newline."""
        return b'%b%d","lastUpdated":"%b%b' % (self.head, version, instant.encode(), self.tail)

    @property
    def unwritten_body(self) -> bytes:
        """The line for who looks at it before it is written: version and time mean nothing yet."""
        return self.body(1, _NO_INSTANT)

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.tail) + 64


class Version(msgspec.Struct, frozen=True):
    """One version of one resource. `body` is None for a deletion."""

    type: str
    id: str
    version: int
    updated_ms: int
    body: bytes | None

    @property
    def deleted(self) -> bool:
        return self.body is None


class Written(msgspec.Struct, frozen=True):
    """What a write did."""

    version: Version
    created: bool  # there was no live version before


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a search, of one state of the store."""

    matches: tuple[Version, ...]
    included: tuple[Version, ...] = ()  # each once, and none that is a match of this page
    position: bytes = b""  # where the next page begins, to be given back as it is; empty: no more


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a history, newest first, deletions included."""

    versions: tuple[Version, ...]
    position: int = 0  # the next page's; 0: no more
    total: int  # of all pages


class Ingested(msgspec.Struct, frozen=True):
    """What a batch of an ingest did."""

    created: int
    updated: int
    unchanged: int  # equal to the current version but for versionId and lastUpdated


class Reindexed(msgspec.Struct, frozen=True):
    """What one step of a reindex did."""

    done: bool  # the index holds all that can be searched for now
    looked: int  # at versions
    fixed: int  # resources whose rows were made again


class Pruned(msgspec.Struct, frozen=True):
    """What one step of a pruning did."""

    cursor: tuple[str, str] | None  # type and id to go on after; None: all was looked at
    removed: int  # versions
    looked: int = 0  # at versions


class StoreStatistics(msgspec.Struct, frozen=True):
    """Facts about one tenant's store."""

    store: str
    seq: int
    cut_ms: int
    last_ms: int
    rows: dict[str, int]  # live resources by type
    open_snapshots: int
