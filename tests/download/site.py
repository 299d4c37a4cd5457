"""A real server on loopback over real files, with exports that are recorded directly."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import trio

from backends import Backend
from backends.files import FilesOutputStore
from engine.export.filenames import file_name
from engine.model import (
    ExportRequest,
    FileKind,
    FinalizedPart,
    JobId,
    Lease,
    NewExport,
    Part,
    PartKey,
    Snapshot,
    StoredFile,
    WorkerId,
)
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.support.clocks import VirtualClock
from tests.support.parts import NDJSON, batch

WORKER = WorkerId("w1")
RETENTION_SECONDS = 3600.0
STOP_SECONDS_MAX = 10
GRACE_SECONDS = 60.0  # more than a test waits: what hangs is seen
PLAN = (
    Part(number=0, type="Observation", index=1),
    Part(number=1, type="Patient", index=1),
    Part(number=2, type="Patient", index=2),
    Part(number=3, kind=FileKind.ERROR, type="OperationOutcome", index=1),
)


@dataclass
class Site:
    """The server's address, and what lies behind it."""

    base: str  # of the FHIR API
    root: Path
    client: httpx.AsyncClient
    outputs: FilesOutputStore
    backend: Backend
    clock: VirtualClock
    shutdown: trio.Event
    stopped: trio.Event
    jobs: int = 0
    files: dict[str, StoredFile] = field(default_factory=dict)  # by URL

    async def export(self, tenant: TenantId = DEFAULT_TENANT, *, finish: bool = True) -> str:
        """An export with every part of PLAN recorded; the address of its files' folder."""
        self.jobs += 1
        job = JobId(f"{self.jobs:032x}")
        known = await self.backend.tenants.ensure(tenant)
        await self.backend.export_jobs.start(
            NewExport(id=job, tenant=tenant, request=ExportRequest(), snapshot=Snapshot("s", 1, 1)),
            open_max=100,
        )
        lease = await self.backend.export_leases.claim(WORKER, 60.0)
        assert lease is not None and lease.job == job
        await self.backend.export_work.save_plan(lease, PLAN)
        words = "" if tenant == DEFAULT_TENANT else f"{tenant}/"
        folder = f"{self.base}/{words}$export-file/{job}"
        for part in PLAN:
            key = PartKey(
                tenant=known.key,
                job=job,
                kind=part.kind,
                type=part.type,
                index=part.index,
                token=lease.token,
            )
            file = await self._record(lease, part, key)
            self.files[f"{folder}/{file_name(part)}"] = file
        if finish:
            await self.backend.export_work.finish(lease, retention_s=RETENTION_SECONDS)
        return folder

    async def stop(self) -> None:
        """Let every request end by itself; it must not take long."""
        await self.client.aclose()
        self.shutdown.set()
        with trio.fail_after(STOP_SECONDS_MAX):
            await self.stopped.wait()

    async def begin(self, url: str, headers: dict[str, str]) -> trio.SocketStream:
        """A connection of its own, with the request sent and nothing read."""
        parts = urlsplit(url)
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        return stream

    def file(self, url: str) -> StoredFile:
        return self.files[url]

    async def _record(self, lease: Lease, part: Part, key: PartKey) -> StoredFile:
        async with self.outputs.open_part(key) as sink:
            await sink.append(batch(contents(part.number)))
            file = await sink.finalize()
        recorded = FinalizedPart(
            number=part.number,
            kind=part.kind,
            type=part.type,
            index=part.index,
            rows=contents(part.number).count(b"\n"),
            token=lease.token,
            file=file,
        )
        await self.backend.export_work.record_part(lease, recorded)
        return file


def contents(number: int) -> bytes:
    """What the part of this number in PLAN holds: a different length for each, and for the
    last ones more than the buffers of a connection take."""
    return NDJSON * (number * 40 + 1)
