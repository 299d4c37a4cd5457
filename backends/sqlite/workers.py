"""Locks of live workers: a file per worker, held under flock for the worker's life.

The kernel lets go of the lock when the process ends, however it ends, so whoever gets
another worker's lock knows that it is dead and need not wait for its leases to expire.
A flock belongs to an open file description: ours is never opened twice, and is closed in
every program that this process starts. Processes that only fork would keep it alive.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import SettingInvalid, StartupError
from engine.model import WorkerId

_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Somebody who asks whether we live holds our new file's lock for an instant.
TAKE_TRIES_MAX = 50
TAKE_PAUSE_SECONDS = 0.01


class WorkerLocks:
    """Our own lock, and questions about those of others. All calls block, for an instant."""

    def __init__(self, folder: Path, own: WorkerId) -> None:
        if not _WORKER_ID.fullmatch(own):
            raise SettingInvalid("worker", "an id is letters, digits, '.', '_' and '-'")
        self._folder = folder
        self.own = own

    def take(self) -> int:
        """Take our lock, and return the descriptor that holds it, for `let_go`.

        Raises SettingInvalid if another process lives under our id, StartupError.
        """
        path = self._path(self.own)
        try:
            for _ in range(TAKE_TRIES_MAX):
                descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                if _locked(descriptor, fcntl.LOCK_EX) and _is_named(descriptor, path):
                    return descriptor
                os.close(descriptor)
                time.sleep(TAKE_PAUSE_SECONDS)
        except OSError as error:
            raise StartupError(f"{path}: cannot be locked ({error.strerror})") from error
        raise SettingInvalid("worker", f"another process runs as '{self.own}'")

    def let_go(self, descriptor: int) -> None:
        """Give our lock back. The file stays: it tells others that our leases are free."""
        os.close(descriptor)

    def dead(self, workers: Iterable[WorkerId]) -> list[WorkerId]:
        """Which of them certainly do not live. One without a file is not known here."""
        return [worker for worker in workers if worker != self.own and self._is_dead(worker)]

    def all_dead(self) -> list[WorkerId]:
        """Every worker that left a file, and does not live."""
        return self.dead(WorkerId(path.stem) for path in self._folder.glob("*.lock"))

    def remove(self, workers: Iterable[WorkerId]) -> None:
        """Remove the files of dead workers, once nothing is held in their names any more."""
        for worker in workers:
            with self._opened(worker) as descriptor:
                # Asked again: a worker may live anew under the same id.
                if descriptor is not None and _locked(descriptor, fcntl.LOCK_EX):
                    path = self._path(worker)
                    if _is_named(descriptor, path):
                        path.unlink()

    def _path(self, worker: WorkerId) -> Path:
        return self._folder / f"{worker}.lock"

    def _is_dead(self, worker: WorkerId) -> bool:
        with self._opened(worker) as descriptor:
            # Shared: two who ask at once must not take each other for the owner.
            return descriptor is not None and _locked(descriptor, fcntl.LOCK_SH)

    @contextmanager
    def _opened(self, worker: WorkerId) -> Iterator[int | None]:
        """Another worker's file, if there is one. Whatever lock is taken ends with the block."""
        try:
            descriptor = os.open(self._path(worker), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    """Take the lock without waiting, if nobody else's is in the way."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the file that is open is still the one of that name."""
    ours = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
