"""OutputStore of the memory backend.

A file has a temporary name until it is finalized. As on a disk, the temporary one stays if
its process is killed, and goes if the power fails.
"""

import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Literal

import trio

from backends.memory.state import FileRow, Process
from engine.errors import NotFound, OutputFull, OutputUnavailable
from engine.model import Batch, JobId, PartKey, StoredFile, StoredName
from engine.tenant import TenantKey

Coding = Literal["", "gzip"]

BLOCK_BYTES = 1 << 20
ENDINGS: dict[str, str] = {"": ".ndjson", "gzip": ".ndjson.gz"}


class MemoryOutputs:
    """OutputStore."""

    def __init__(self, process: Process, coding: Coding = "") -> None:
        self._process = process
        self._world = process.world
        self._coding: Coding = coding

    @asynccontextmanager
    async def open_part(self, key: PartKey) -> AsyncIterator["MemorySink"]:
        """See OutputStore."""
        sink = MemorySink(self._process, key, self._coding)
        await trio.lowlevel.checkpoint()
        sink.create()
        self._process.open_sinks += 1
        try:
            yield sink
        finally:
            self._process.open_sinks -= 1
            sink.discard()

    @asynccontextmanager
    async def read_part(
        self, file: StoredFile, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator["MemoryReader"]:
        """See OutputStore."""
        data = await self._process.look(lambda: self._finished(file.location))
        self._process.open_readers += 1
        try:
            yield MemoryReader(self._process, data[start:stop])
        finally:
            self._process.open_readers -= 1

    async def jobs(self) -> Sequence[tuple[TenantKey, JobId]]:
        """See OutputStore."""
        files = self._world.files
        return await self._process.look(
            lambda: sorted({(file.tenant, file.job) for file in files.values()})
        )

    async def names(self, tenant: TenantKey, job: JobId) -> Sequence[StoredName]:
        """See OutputStore."""
        return await self._process.look(lambda: self._names(tenant, job))

    async def remove(self, location: str) -> None:
        """See OutputStore."""
        await self._process.effect(lambda: self._world.files.pop(location, None))

    async def delete_job(self, tenant: TenantKey, job: JobId) -> None:
        """See OutputStore."""
        await self._process.effect(lambda: self._delete_job(tenant, job))

    async def check(self) -> None:
        """See OutputStore."""
        await self._process.look(lambda: require_space(self._process, 1))

    def _finished(self, location: str) -> bytes:
        file = self._world.files.get(location)
        if file is None or not file.finished:
            raise NotFound("there is no such file")
        return bytes(file.data)

    def _names(self, tenant: TenantKey, job: JobId) -> list[StoredName]:
        now_ms = self._world.clock.now_ms()
        return [
            StoredName(
                location=location,
                token=file.token,
                finished=file.finished,
                age_s=max(0, now_ms - file.touched_ms) / 1000,
            )
            for location, file in sorted(self._world.files.items())
            if (file.tenant, file.job) == (tenant, job)
        ]

    def _delete_job(self, tenant: TenantKey, job: JobId) -> None:
        files = self._world.files
        for location in [name.location for name in self._names(tenant, job)]:
            del files[location]


class MemorySink:
    """One file being written."""

    def __init__(self, process: Process, key: PartKey, coding: Coding) -> None:
        self._process = process
        self._world = process.world
        self._key = key
        self._coding: Coding = coding
        folder = f"{key.tenant}/{key.job}/{key.kind}"
        self._location = f"{folder}/{key.type}-{key.index}-{key.token}{ENDINGS[coding]}"
        self._temporary = f"{self._location}.tmp"
        now_ms = self._world.clock.now_ms()
        self._file = FileRow(
            key.tenant, key.job, key.token, bytearray(), finished=False, touched_ms=now_ms
        )

    async def append(self, batch: Batch) -> None:
        """See PartSink."""
        await self._process.effect(lambda: self._append(b"".join(batch.chunks)))

    async def finalize(self) -> StoredFile:
        """See PartSink."""
        await trio.lowlevel.checkpoint()
        self._process.require_life()
        file = self._publish()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self._remove(self._location)
            raise
        return file

    def create(self) -> None:
        """Begin the file under its temporary name."""
        self._process.require_life()
        # A key names one attempt, so nobody else can have begun it.
        assert self._temporary not in self._world.files
        assert self._location not in self._world.files
        self._world.files[self._temporary] = self._file

    def discard(self) -> None:
        """Remove the temporary name, if it is still there."""
        if self._is_there():
            self._remove(self._temporary)

    def _append(self, data: bytes) -> None:
        require_space(self._process, len(data))
        self._file.data += data
        self._file.touched_ms = self._world.clock.now_ms()

    def _is_there(self) -> bool:
        """Somebody may have removed the file, as on a disk, without the sink knowing."""
        return self._world.files.get(self._temporary) is self._file

    def _publish(self) -> StoredFile:
        if not self._is_there():
            raise OutputUnavailable("the file was removed while it was written")
        file = self._world.files.pop(self._temporary)
        plain = bytes(file.data)
        file.data = gzip.compress(plain, mtime=0) if self._coding else plain
        file.finished = True
        file.touched_ms = self._world.clock.now_ms()
        self._world.files[self._location] = file
        return StoredFile(
            location=self._location,
            bytes=len(plain),
            sha256=sha256(plain).hexdigest(),
            coding=self._coding,
            stored_bytes=len(file.data),
            stored_sha256=sha256(file.data).hexdigest(),
        )

    def _remove(self, name: str) -> None:
        if not self._process.dead:
            self._world.files.pop(name, None)


class MemoryReader:
    """One finished file being read."""

    def __init__(self, process: Process, data: bytes) -> None:
        self._process = process
        self._data = data

    async def read(self) -> bytes:
        """See PartReader."""
        return await self._process.look(self._next)

    def _next(self) -> bytes:
        block, self._data = self._data[:BLOCK_BYTES], self._data[BLOCK_BYTES:]
        return block


def require_space(process: Process, size_bytes: int) -> None:
    """Raise OutputFull if so many more bytes do not fit."""
    files_bytes_max = process.world.files_bytes_max
    used = sum(len(file.data) for file in process.world.files.values())
    if files_bytes_max is not None and used + size_bytes > files_bytes_max:
        raise OutputFull("no space is left for output files")
