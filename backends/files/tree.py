"""The folders below one root, reached only through descriptors and never through links.

A link that somebody plants leads nowhere: every step is opened relative to the one
before with O_NOFOLLOW. All functions block and raise OSError.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from backends.files.names import Place

FOLDER_MODE = 0o700
FILE_MODE = 0o600
MAKE_ATTEMPTS_MAX = 10  # against somebody who removes empty folders just then
DURABLE_FOLDERS_MAX = 4096  # remembered; forgetting costs a few fsyncs
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})  # not empty, or not a folder


class Tree:
    """One root folder. Used from several threads: no state but the set of durable folders."""

    def __init__(self, root: Path) -> None:
        root = root.absolute()
        _make_durably(root)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._durable: set[tuple[str, ...]] = set()

    @property
    def root(self) -> int:
        """The root's descriptor."""
        return self._root

    def close(self) -> None:
        os.close(self._root)

    @contextmanager
    def folder(self, *segments: str) -> Iterator[int]:
        """A folder that exists, as a descriptor."""
        fd = self._descend(segments)
        try:
            yield fd
        finally:
            os.close(fd)

    def make_in(self, segments: tuple[str, ...], make: Callable[[int], None]) -> int:
        """Create the folders that are missing, call `make` with the last one's descriptor,
        and return that for the caller to close. The folders then survive a crash.

        Whoever removes empty folders may do so at any moment before `make` has put
        something in: then all is tried again.
        """
        for attempt in range(1, MAKE_ATTEMPTS_MAX + 1):
            try:
                fd, created = self._make_in_once(segments, make)
                break
            except FileNotFoundError:
                if attempt == MAKE_ATTEMPTS_MAX:
                    raise
        # Asked only now: what `make` put in keeps the folder that is remembered.
        if created or segments not in self._durable:
            with closed_on_error(fd):
                self._sync_above(segments)
        return fd

    def prune(self, *segments: str) -> None:
        """Remove the folder and those above it, as far as they are empty, durably."""
        for depth in range(len(segments), 0, -1):
            # Forgotten before it goes: a folder made anew is not yet durable.
            self._durable.discard(segments[:depth])
            above = self.folder(*segments[: depth - 1])
            with suppress(FileNotFoundError, NotADirectoryError), above as parent:
                try:
                    os.rmdir(segments[depth - 1], dir_fd=parent)
                except OSError as error:
                    if error.errno in _KEPT:
                        return
                    raise
                os.fsync(parent)

    def open_file(self, place: Place) -> int:
        """A file for reading. A pipe or device does not make it wait."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self.folder(*place.folder) as fd:
            return os.open(place.file, flags, dir_fd=fd)

    def unlink(self, place: Place) -> None:
        """Remove a file; it may be gone, and so may its folder. A folder is left alone."""
        with suppress(FileNotFoundError, IsADirectoryError), self.folder(*place.folder) as fd:
            os.unlink(place.file, dir_fd=fd)

    def entries(self, *segments: str) -> Sequence[str]:
        """The names in a folder, sorted; none if it is gone or is no folder."""
        with suppress(FileNotFoundError, NotADirectoryError), self.folder(*segments) as fd:
            return sorted(os.listdir(fd))
        return ()

    def _make_in_once(
        self, segments: tuple[str, ...], make: Callable[[int], None]
    ) -> tuple[int, bool]:
        fd, created = self._descend_making(segments)
        with closed_on_error(fd):
            make(fd)
        return fd, created

    def _sync_above(self, segments: tuple[str, ...]) -> None:
        """Make the entries of all folders down to this one durable."""
        for depth in range(len(segments)):
            with self.folder(*segments[:depth]) as fd:
                os.fsync(fd)
        if len(self._durable) >= DURABLE_FOLDERS_MAX:
            self._durable.clear()
        self._durable.add(segments)

    def _descend(self, segments: Sequence[str]) -> int:
        fd = os.dup(self._root)
        for segment in segments:
            fd = _step(fd, segment)
        return fd

    def _descend_making(self, segments: Sequence[str]) -> tuple[int, bool]:
        fd, created = os.dup(self._root), False
        for segment in segments:
            with closed_on_error(fd), suppress(FileExistsError):
                os.mkdir(segment, FOLDER_MODE, dir_fd=fd)
                created = True
            fd = _step(fd, segment)
        return fd, created


@contextmanager
def closed_on_error(fd: int) -> Iterator[None]:
    """Close a descriptor if the block raises."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def _step(fd: int, segment: str) -> int:
    """From a folder to one in it; the first descriptor is closed in any case."""
    try:
        return os.open(segment, _FOLDER, dir_fd=fd)
    finally:
        os.close(fd)


def _make_durably(root: Path) -> None:
    """Create the root and what is missing above it, for nobody else to read."""
    if root.is_dir():
        return
    _make_durably(root.parent)
    with suppress(FileExistsError):  # made by another process just now
        root.mkdir(mode=FOLDER_MODE)
    fd = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
