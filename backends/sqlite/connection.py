"""Connections to SQLite files: one way to open them, one place where foreign errors end.

Every connection is WAL with synchronous=FULL, and that is asserted, because a
connection with another setting would lose what was acknowledged at a power cut.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw
import msgspec

from backends.door import Interrupted
from engine.errors import StartupError, StoreDamaged, StoreUnavailable

# Older libraries may reset a WAL that another connection still reads (fixed in 3.51.3).
SQLITE_VERSION_MIN = (3, 51, 3)

# Measured on bodies of 1.4 KB: 8 KiB pages are read 25 % faster than 4 KiB pages.
PAGE_BYTES = 8192

BUSY_MS = 10_000  # a writing process holds the file for about 250 ms at a time

_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_UNAVAILABLE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
)


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between connections."""

    cache_kib: int = 2048  # page cache; a sequential read gains nothing from more
    autocheckpoint_pages: int = 0  # 0: checkpoints have a connection of their own
    length_bytes_max: int | None = None  # of one value or row that a statement may build
    read_only: bool = False
    busy_ms: int = BUSY_MS


READER: Final = Tuning(read_only=True)


def check_library() -> None:
    """Raise StartupError if the SQLite library is too old to be trusted with a WAL."""
    found = tuple(int(number) for number in apsw.sqlite_lib_version().split("."))
    if found < SQLITE_VERSION_MIN:
        raise StartupError(
            f"SQLite {apsw.sqlite_lib_version()} is too old: install apsw with SQLite "
            f"{'.'.join(map(str, SQLITE_VERSION_MIN))} or newer"
        )


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn apsw's errors into ours. Names the file and SQLite's code, never its content."""
    try:
        yield
    except apsw.InterruptError as error:
        raise Interrupted(f"{path.name}: stopped on request") from error
    except apsw.FullError as error:
        raise StoreUnavailable(f"{path.name}: no space is left on its disk") from error
    except _DAMAGED as error:
        raise StoreDamaged(f"{path}: damaged, or not an SQLite file ({_code(error)})") from error
    except _UNAVAILABLE as error:
        raise StoreUnavailable(f"{path.name}: did not answer ({_code(error)})") from error


def open_connection(path: Path, tuning: Tuning = READER) -> apsw.Connection:
    """Open an existing, prepared file (see migrate.prepare_file).

    Raises StoreUnavailable, StoreDamaged, StartupError.
    """
    with translating(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            _set_up(connection, path, tuning)
        except BaseException:
            connection.close()
            raise
    return connection


def create_file(path: Path) -> None:
    """Make an empty file that only its owner can read, if there is none. SQLite gives the
    same mode to the files beside it, and syncs the directory with its first commit."""
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StartupError(f"{path}: cannot be created ({error.strerror})") from error


def roll_back(connection: apsw.Connection) -> None:
    """End whatever transaction is open. Some errors have rolled it back already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def immediate(connection: apsw.Connection) -> Iterator[None]:
    """One write transaction: committed if the block ends, rolled back if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _set_up(connection: apsw.Connection, path: Path, tuning: Tuning) -> None:
    connection.set_busy_timeout(tuning.busy_ms)
    connection.execute(f"PRAGMA cache_size = {-tuning.cache_kib}")
    connection.execute("PRAGMA mmap_size = 0")  # mapped pages would count as ours
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {tuning.autocheckpoint_pages}")
    if tuning.read_only:
        connection.execute("PRAGMA query_only = ON")
    if tuning.length_bytes_max is not None:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, tuning.length_bytes_max)
    if connection.pragma("journal_mode") != "wal" or connection.pragma("synchronous") != 2:
        raise StoreDamaged(f"{path}: is not in WAL mode with full synchronization")


def _code(error: Exception) -> str:
    number = getattr(error, "extendedresult", 0)
    names = apsw.mapping_extended_result_codes | apsw.mapping_result_codes
    return str(names.get(number, type(error).__name__))
