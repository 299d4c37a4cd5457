"""Writing one part: a temporary file that becomes a durable one, or nothing.

`PartFile` is the blocking half and knows nothing of tasks; `FilesSink` calls it through
the doors and decides what a cancel leaves.
"""

import enum
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import trio

from backends.door import Door
from backends.files.coding import Coder
from backends.files.names import TEMPORARY, Place
from backends.files.tree import FILE_MODE, Tree
from backends.files.trouble import output_trouble
from backends.files.writeout import start_write_out
from engine.errors import OutputUnavailable
from engine.model import Batch, StoredFile

WRITE_OUT_BYTES = 8 << 20  # started this often: a commit then waits for about one of these
RUN_BYTES = 1 << 20  # hashed and written at a time
WRITEV_CHUNKS_MAX = 1024  # IOV_MAX of Linux
DISCARD_SECONDS_MAX = 10.0  # waiting for a free thread to clean up in

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PartFile:
    """The blocking half. One call at a time, each from any thread; raises OutputFull and
    OutputUnavailable. It owns two descriptors until `publish` or `discard` has returned."""

    def __init__(self, tree: Tree, place: Place, coder: Coder) -> None:
        self._tree = tree
        self._place = place
        self._coder = coder
        self._temporary = place._replace(file=place.file + TEMPORARY)
        self._fd: int | None = None
        self._folder: int | None = None
        self._written = 0
        self._started = 0  # write-out was started up to here
        self._leftovers: list[Place] = []  # what discard has to remove
        self._discarded = False

    def create(self) -> None:
        """Create the temporary file, and the folders down to it."""
        with output_trouble("creating a file"):
            self._folder = self._tree.make_in(self._place.folder, self._create_in)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append the chunks."""
        with output_trouble("writing a file"):
            for run in _runs(chunks):  # written while it is still in the processor's cache
                self._write_all(self._coder.code(run))
            if self._written - self._started >= WRITE_OUT_BYTES:
                assert self._fd is not None
                start_write_out(self._fd, self._started, self._written)
                self._started = self._written

    def settle(self) -> None:
        """Bring all bytes to the disk, still under the temporary name."""
        with output_trouble("syncing a file"):
            self._write_all(self._coder.end())
            assert self._fd is not None
            os.fsync(self._fd)
            fd, self._fd = self._fd, None
            os.close(fd)

    def publish(self) -> StoredFile:
        """Give the file its final name, durably."""
        assert self._folder is not None and self._fd is None
        with output_trouble("naming a file"):
            self._leftovers.append(self._place)
            os.rename(
                self._temporary.file,
                self._place.file,
                src_dir_fd=self._folder,
                dst_dir_fd=self._folder,
            )
            os.fsync(self._folder)
            folder, self._folder = self._folder, None
            os.close(folder)
        return self._coder.describe(self._place.location)

    def discard(self) -> None:
        """Close what is open, remove both names and the folders that are empty then. Once.

        What cannot be removed stays for the janitor, who finds it by name.
        """
        if self._discarded:
            return
        self._discarded = True
        for fd in (self._fd, self._folder):
            if fd is not None:
                os.close(fd)
        for place in self._leftovers:
            with suppress(OSError):
                self._tree.unlink(place)
        with suppress(OSError):
            self._tree.prune(*self._place.folder)

    def _create_in(self, folder: int) -> None:
        self._fd = os.open(self._temporary.file, _CREATE, FILE_MODE, dir_fd=folder)
        self._leftovers.append(self._temporary)
        # Only one can hold the temporary name, so whoever holds it may ask this.
        if _exists(self._place.file, folder):
            raise FileExistsError(errno.EEXIST, "a finished part is never written again")

    def _write_all(self, chunks: Sequence[bytes]) -> None:
        """Write every byte, however little the kernel takes at a time."""
        assert self._fd is not None
        for first in range(0, len(chunks), WRITEV_CHUNKS_MAX):
            self._writev(chunks[first : first + WRITEV_CHUNKS_MAX])

    def _writev(self, chunks: Sequence[bytes]) -> None:
        assert self._fd is not None
        left = sum(map(len, chunks))
        rest: Sequence[bytes | memoryview] = chunks
        while left:
            taken = os.writev(self._fd, rest)
            if taken == 0:
                raise OSError(errno.EIO, "nothing was written")
            left -= taken
            self._written += taken
            if left:
                rest = _after(rest, taken)


class _State(enum.Enum):
    OPEN = "open"
    BROKEN = "broken"  # a call failed or was cancelled: only discard is left
    FINISHED = "finished"


class FilesSink:
    """A PartSink. Belongs to one task."""

    def __init__(self, file: PartFile, writers: Door, upkeep: Door) -> None:
        self._file = file
        self._writers = writers
        self._upkeep = upkeep
        self._state = _State.OPEN

    async def append(self, batch: Batch) -> None:
        """Write, hash and count a batch. Cancelled or failed: the sink is unusable.
        Raises OutputFull, OutputUnavailable."""
        self._begin()
        await self._writers.call(self._file.write, batch.chunks)
        self._state = _State.OPEN

    async def finalize(self) -> StoredFile:
        """Make the file durable under its final name. Cancelled: neither name exists.
        Raises OutputFull, OutputUnavailable."""
        self._begin()
        try:
            await self._writers.call(self._file.settle)
            stored = await self._writers.call(self._file.publish)
            # A cancel that came while it was published still counts: the file goes again.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self.leave()
            raise
        self._state = _State.FINISHED
        return stored

    async def leave(self) -> None:
        """Throw the file away unless it is finished. Not cancelled while it does so, and
        done in any case: if no thread is free within the bound, then in this one."""
        if self._state is _State.FINISHED:
            return
        self._state = _State.BROKEN
        with trio.move_on_after(DISCARD_SECONDS_MAX, shield=True):
            await self._upkeep.call(self._file.discard)
        self._file.discard()

    def _begin(self) -> None:
        assert self._state is not _State.FINISHED, "the part is finished"
        if self._state is _State.BROKEN:
            raise OutputUnavailable("the file is incomplete, because a write failed before")
        self._state = _State.BROKEN


def _runs(chunks: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The chunks in runs of at least RUN_BYTES, so that a lone newline costs no write."""
    first = size = 0
    for number, chunk in enumerate(chunks, start=1):
        size += len(chunk)
        if size >= RUN_BYTES or number == len(chunks):
            yield chunks[first:number]
            first, size = number, 0


def _after(chunks: Sequence[bytes | memoryview], taken: int) -> list[bytes | memoryview]:
    """What is left of the chunks once `taken` bytes are written."""
    for number, chunk in enumerate(chunks):
        if taken < len(chunk):
            return [memoryview(chunk)[taken:], *chunks[number + 1 :]]
        taken -= len(chunk)
    return []


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
