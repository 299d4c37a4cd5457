"""Export jobs, leases and parts for tests of the job store, and exports read as bytes."""

from backends import Backend
from engine.model import (
    Batch,
    ExportJob,
    ExportRequest,
    FileKind,
    FinalizedPart,
    JobId,
    Lease,
    NewExport,
    Part,
    PartEnd,
    Snapshot,
    StoredFile,
    WorkerId,
)
from engine.ports import BulkReader
from engine.tenant import TenantId

ACME = TenantId("acme")
OTHER = TenantId("acme/research")
SNAPSHOT = Snapshot("a-store", 7, 1_000)
LEASE_SECONDS = 60.0
PART_BYTES = 1 << 20


async def start(
    backend: Backend, id: str = "j1", tenant: TenantId = ACME, *, open_max: int = 50
) -> ExportJob:
    """An accepted job, of a tenant that is made if it is new."""
    await backend.tenants.ensure(tenant)
    new = NewExport(id=JobId(id), tenant=tenant, request=ExportRequest(), snapshot=SNAPSHOT)
    return await backend.export_jobs.start(new, open_max=open_max)


async def claim(backend: Backend, worker: str = "w1") -> Lease:
    """The next job, which must be there."""
    lease = await backend.export_leases.claim(WorkerId(worker), LEASE_SECONDS)
    assert lease is not None
    return lease


async def start_and_claim(backend: Backend, id: str = "j1", tenant: TenantId = ACME) -> Lease:
    """A job in progress, held by w1."""
    await start(backend, id, tenant)
    return await claim(backend)


def planned(number: int, *, type: str = "Patient") -> Part:
    """A part of a plan; the number is its place in the job and, plus one, in its type."""
    return Part(number=number, type=type, index=number + 1, first=1, last=9, bytes_estimate=100)


def finalized(part: Part, lease: Lease, *, rows: int = 3) -> FinalizedPart:
    """The part as a writer would record it; without rows there is no file."""
    name = f"{part.type}-{part.index}-{lease.token}"
    file = StoredFile(
        location=name, bytes=40, sha256="a" * 64, stored_bytes=40, stored_sha256="a" * 64
    )
    return FinalizedPart(
        number=part.number,
        kind=part.kind,
        type=part.type,
        index=part.index,
        rows=rows,
        token=lease.token,
        file=file if rows else None,
    )


def output_part(number: int, lease: Lease) -> FinalizedPart:
    """A finished part of three rows."""
    return finalized(planned(number), lease)


async def read_part(
    store: BulkReader, part: Part, request: ExportRequest, snapshot: Snapshot
) -> bytes:
    """All bytes of a part, its end checked against them."""
    data, rows = bytearray(), 0
    async with store.stream(part, request, snapshot) as stream:
        while isinstance(message := await stream.read(), Batch):
            data += b"".join(message.chunks)
            rows += message.rows
    assert message == PartEnd(rows, len(data))
    assert data.count(b"\n") == rows
    return bytes(data)


async def export(
    store: BulkReader,
    snapshot: Snapshot,
    request: ExportRequest | None = None,
    *,
    part_bytes: int = PART_BYTES,
) -> dict[str, bytes]:
    """What an export of the snapshot gives, by type, its parts joined in order."""
    request = ExportRequest() if request is None else request
    files: dict[str, bytes] = {}
    for part in await store.plan(request, snapshot, part_bytes):
        assert part.kind is FileKind.OUTPUT
        data = await read_part(store, part, request, snapshot)
        files[part.type] = files.get(part.type, b"") + data
    return {type: data for type, data in files.items() if data}


async def cut(store: BulkReader, job: str = "j1") -> Snapshot:
    """A snapshot for a job of this name."""
    return await store.open_snapshot(JobId(job))


def lines_of(files: dict[str, bytes]) -> set[bytes]:
    """Every line of an export; none may come twice."""
    lines = [line for data in files.values() for line in data.split(b"\n") if line]
    assert len(lines) == len(set(lines))
    return set(lines)
