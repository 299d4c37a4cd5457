"""Reading one finished file, block by block.

The descriptor stays good after the file was deleted, so that who is downloading gets
the rest (E7).
"""

import errno
import os
import stat

from backends.door import Door
from backends.files.names import Place
from backends.files.tree import Tree
from backends.files.trouble import missing_or_trouble, output_trouble
from engine.errors import OutputUnavailable


class ReadFile:
    """The blocking half. `close` may be called at any time no other call is running."""

    def __init__(self, tree: Tree, place: Place, size: int) -> None:
        self._tree = tree
        self._place = place
        self._size = size
        self._fd: int | None = None

    def open(self) -> None:
        """Raises NotFound; OutputUnavailable also if it has not the size it was recorded with."""
        with missing_or_trouble("opening a file"):
            self._fd = self._tree.open_file(self._place)
            facts = os.fstat(self._fd)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.ENOENT, "not a file")
        if facts.st_size != self._size:
            raise OutputUnavailable("an output file has not the size that was recorded")
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, start: int, length: int) -> bytes:
        """At most `length` bytes, at least one. Raises OutputUnavailable."""
        assert self._fd is not None
        with output_trouble("reading a file"):
            block = os.pread(self._fd, length, start)
        if not block:
            raise OutputUnavailable("an output file became shorter while it was read")
        return block

    def close(self) -> None:
        """Does not block: nothing was written."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class FilesReader:
    """A PartReader. Belongs to one task."""

    def __init__(self, file: ReadFile, readers: Door, start: int, stop: int, block: int) -> None:
        self._file = file
        self._readers = readers
        self._next = start
        self._stop = stop
        self._block = block

    async def read(self) -> bytes:
        """The next block; empty at the end. Raises OutputUnavailable."""
        length = min(self._block, self._stop - self._next)
        if length == 0:
            return b""
        block = await self._readers.call(self._file.read, self._next, length)
        self._next += len(block)
        return block
