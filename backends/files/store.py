"""FilesOutputStore: finished files in a local directory.

Blocking calls go through three doors with limiters of their own, so that neither
exports, downloads nor cleaning up wait for one another's threads.
"""

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import trio

from backends.door import Door, InlineDoor, ThreadDoor
from backends.files.coding import coder_for
from backends.files.names import Coding, Place, is_segment, parse_location, parse_name, place_of
from backends.files.reading import FilesReader, ReadFile
from backends.files.tree import FILE_MODE, Tree
from backends.files.trouble import output_trouble
from backends.files.writing import FilesSink, PartFile
from engine.errors import NotFound, OutputFull, StartupError
from engine.limits import MIB
from engine.model import FileKind, JobId, PartKey, StoredFile, StoredName
from engine.tenant import TenantKey

WRITERS_MAX = 8  # threads; a lane of a job uses one at a time
READERS_MAX = 8  # threads; a download uses one for well under a millisecond per block
UPKEEP_MAX = 2
FREE_BYTES_MIN = 64 * MIB  # less than this counts as full: about one part
READ_BLOCK_BYTES = 1 * MIB  # measured: over 2,000 MB/s on loopback, 550 with 64 KiB
READ_BLOCK_BYTES_MIN = 256 * 1024
READ_BYTES_MAX = 8 * MIB  # in the blocks of all readers, down to the smallest block
REMOVE_AT_ONCE_MAX = 64  # files per blocking call, so that a cancel is heard in between


@dataclass(frozen=True, kw_only=True)
class FilesDoors:
    """The ways to blocking calls, one for each kind of work."""

    writers: Door
    readers: Door
    upkeep: Door

    @classmethod
    def threads(cls) -> Self:
        """What production uses."""
        return cls(
            writers=ThreadDoor(trio.CapacityLimiter(WRITERS_MAX), bulk=True),
            readers=ThreadDoor(trio.CapacityLimiter(READERS_MAX)),
            upkeep=ThreadDoor(trio.CapacityLimiter(UPKEEP_MAX)),
        )

    @classmethod
    def inline(cls) -> Self:
        """For tests on virtual time."""
        return cls(writers=InlineDoor(), readers=InlineDoor(), upkeep=InlineDoor())


class FilesStatistics(msgspec.Struct, frozen=True):
    """What is open now."""

    open_sinks: int
    open_readers: int


@asynccontextmanager
async def open_files(
    root: Path | str,
    *,
    coding: Coding = "",
    doors: FilesDoors | None = None,
    free_bytes_min: int = FREE_BYTES_MIN,
) -> AsyncIterator["FilesOutputStore"]:
    """The store in a directory, which is created (for this user alone) if it is missing.
    `coding` is for files to be written; others are read as they lie. Raises StartupError."""
    doors = doors or FilesDoors.threads()
    try:
        tree = await doors.upkeep.call(Tree, Path(root))
    except OSError as error:
        raise StartupError(
            f"the output directory {root} cannot be used: {error.strerror}"
        ) from error
    try:
        yield FilesOutputStore(tree, coding, doors, free_bytes_min)
    finally:
        tree.close()


class FilesOutputStore:
    """An OutputStore. See engine.ports for what its methods promise."""

    def __init__(self, tree: Tree, coding: Coding, doors: FilesDoors, free_bytes_min: int) -> None:
        self._tree = tree
        self._coding = coding
        self._doors = doors
        self._free_bytes_min = free_bytes_min
        self._open_sinks = 0
        self._open_readers = 0

    def statistics(self) -> FilesStatistics:
        """What is open now."""
        return FilesStatistics(self._open_sinks, self._open_readers)

    @asynccontextmanager
    async def open_part(self, key: PartKey) -> AsyncIterator[FilesSink]:
        """A new file under a temporary name. Leaving the block without finalize, also by a
        cancel, leaves nothing; what a crash leaves is found by `names` as unfinished.
        Raises OutputFull, OutputUnavailable."""
        place = place_of(key, self._coding)
        file = PartFile(self._tree, place, coder_for(self._coding))
        sink = FilesSink(file, self._doors.writers, self._doors.upkeep)
        self._open_sinks += 1
        try:
            await self._doors.writers.call(file.create)
            yield sink
        finally:
            try:
                await sink.leave()
            finally:
                self._open_sinks -= 1

    @asynccontextmanager
    async def read_part(
        self, file: StoredFile, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[FilesReader]:
        """The bytes at rest from start to stop (exclusive). Raises NotFound, and
        OutputUnavailable if the file has not the size that was recorded."""
        stop = file.stored_bytes if stop is None else stop
        assert 0 <= start <= stop <= file.stored_bytes, "a range outside of the file"
        opened = ReadFile(self._tree, parse_location(file.location), file.stored_bytes)
        self._open_readers += 1
        try:
            await self._doors.readers.call(opened.open)
            yield FilesReader(opened, self._doors.readers, start, stop, self._block_bytes())
        finally:
            opened.close()
            self._open_readers -= 1

    async def jobs(self) -> Sequence[tuple[TenantKey, JobId]]:
        """Every job that has any file here. Folders that a crash left empty go meanwhile."""
        found: list[tuple[TenantKey, JobId]] = []
        for tenant in await self._folders():
            for job in await self._folders(tenant):
                if await self._doors.upkeep.call(self._has_file, tenant, job):
                    found.append((TenantKey(tenant), JobId(job)))
        return found

    async def names(self, tenant: TenantKey, job: JobId) -> Sequence[StoredName]:
        """Every file of a job, also unfinished ones of whoever. What is not ours by its name
        is not listed."""
        assert is_segment(tenant) and is_segment(job)
        return await self._doors.upkeep.call(self._names, tenant, job)

    async def remove(self, location: str) -> None:
        """Delete one file; it may be gone already, as is what never was a location of ours."""
        try:
            place = parse_location(location)
        except NotFound:
            await trio.lowlevel.checkpoint()
            return
        await self._doors.upkeep.call(self._remove, place)

    async def delete_job(self, tenant: TenantKey, job: JobId) -> None:
        """Delete all files of a job, and its folders. Cancelled: some may be left."""
        assert is_segment(tenant) and is_segment(job)
        for kind in FileKind:
            names = await self._doors.upkeep.call(self._entries, tenant, job, kind)
            for first in range(0, len(names), REMOVE_AT_ONCE_MAX):
                some = names[first : first + REMOVE_AT_ONCE_MAX]
                places = [Place(tenant, job, kind, name) for name in some]
                await self._doors.upkeep.call(self._unlink, places)
            await self._doors.upkeep.call(self._prune, tenant, job, kind)

    async def check(self) -> None:
        """Raise OutputUnavailable or OutputFull if a part could not be written now."""
        await self._doors.upkeep.call(self._check)

    def _block_bytes(self) -> int:
        """Smaller blocks for many readers: slow ones hold theirs for long."""
        fair = READ_BYTES_MAX // self._open_readers
        return max(READ_BLOCK_BYTES_MIN, min(READ_BLOCK_BYTES, fair))

    async def _folders(self, *segments: str) -> list[str]:
        names = await self._doors.upkeep.call(self._entries, *segments)
        return [name for name in names if is_segment(name)]

    # Blocking, from here on.

    def _entries(self, *segments: str) -> Sequence[str]:
        with output_trouble("listing files"):
            return self._tree.entries(*segments)

    def _has_file(self, tenant: str, job: str) -> bool:
        with output_trouble("listing files"):
            if any(self._tree.entries(tenant, job, kind) for kind in FileKind):
                return True
            for kind in FileKind:
                self._tree.prune(tenant, job, kind)
        return False

    def _names(self, tenant: str, job: str) -> list[StoredName]:
        with output_trouble("listing files"):
            names = []
            for kind in FileKind:
                for file in self._tree.entries(tenant, job, kind):
                    name = self._describe(Place(tenant, job, kind, file))
                    if name is not None:
                        names.append(name)
        return names

    def _describe(self, place: Place) -> StoredName | None:
        parsed = parse_name(place.file)
        if parsed is None:
            return None
        try:
            with self._tree.folder(*place.folder) as fd:
                facts = os.stat(place.file, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:  # removed or renamed since it was listed
            return None
        return StoredName(
            location=place.location,
            token=parsed.token,
            finished=parsed.finished,
            # Both are this machine's wall clock, which may have been set back.
            age_s=max(0.0, time.time() - facts.st_mtime),
        )

    def _remove(self, place: Place) -> None:
        with output_trouble("removing a file"):
            self._tree.unlink(place)
            self._tree.prune(*place.folder)

    def _unlink(self, places: Sequence[Place]) -> None:
        with output_trouble("removing files"):
            for place in places:
                self._tree.unlink(place)

    def _prune(self, tenant: str, job: str, kind: str) -> None:
        with output_trouble("removing folders"):
            self._tree.prune(tenant, job, kind)

    def _check(self) -> None:
        with output_trouble("checking the output directory"):
            space = os.statvfs(self._tree.root)
            free = space.f_bavail * space.f_frsize
            if free < self._free_bytes_min:
                raise OutputFull(
                    f"only {free} bytes are free for output files, "
                    f"less than the {self._free_bytes_min} that are kept free"
                )
            probe = f".check-{os.getpid()}-{time.monotonic_ns()}"
            fd = os.open(
                probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=self._tree.root
            )
            try:
                os.write(fd, b"x")
            finally:
                os.close(fd)
                os.unlink(probe, dir_fd=self._tree.root)
