"""Migrations: numbered .sql files, each applied once, in one transaction.

`PRAGMA user_version` is the number of the last one applied, `PRAGMA application_id`
says which kind of Penstock file it is. Both are part of the migration's transaction,
so a crash leaves the version before.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Final

import apsw
import msgspec

from backends.sqlite.connection import (
    BUSY_MS,
    PAGE_BYTES,
    check_library,
    create_file,
    immediate,
    translating,
)
from engine.errors import SchemaTooNew, StoreDamaged

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


class Schema(msgspec.Struct, frozen=True):
    """One kind of file: its mark and the folder of its migrations."""

    kind: str  # for people, and the folder's name under migrations/
    application_id: int


TENANT: Final = Schema("tenant", int.from_bytes(b"PenT"))
CONTROL: Final = Schema("control", int.from_bytes(b"PenC"))


class Migration(msgspec.Struct, frozen=True):
    """One step of a schema."""

    number: int
    sql: str


def load_migrations(schema: Schema) -> tuple[Migration, ...]:
    """All steps of a schema, numbered from 1 without a gap."""
    folder = resources.files("backends.sqlite") / "migrations" / schema.kind
    steps = []
    for file in folder.iterdir():
        if match := _FILE_NAME.fullmatch(file.name):
            steps.append(Migration(int(match[1]), file.read_text(encoding="utf-8")))
    steps.sort(key=lambda step: step.number)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1)), schema.kind
    assert steps, schema.kind
    return tuple(steps)


def prepare_file(
    path: Path, schema: Schema, migrations: tuple[Migration, ...] | None = None
) -> None:
    """Create the file if there is none, and bring it to the newest version.

    Several processes may do this at once. Raises SchemaTooNew, StoreDamaged (not a
    Penstock file of this kind), StartupError, StoreUnavailable.
    """
    check_library()
    steps = load_migrations(schema) if migrations is None else migrations
    create_file(path)
    with translating(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            _check_identity(connection, path, schema, newest=len(steps))
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # only a new file obeys
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for step in steps:
                _apply(connection, path, schema, step, newest=len(steps))
        finally:
            connection.close()


def _check_identity(
    connection: apsw.Connection, path: Path, schema: Schema, *, newest: int
) -> None:
    """Before anything is written: is this file ours, and not from the future?"""
    # One statement sees one state: another process may be making the file right now.
    application_id, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) "
        "FROM pragma_application_id, pragma_user_version"
    ).get
    if application_id == 0 and version == 0 and tables == 0:
        return  # new
    if application_id != schema.application_id:
        raise StoreDamaged(f"{path}: is not a Penstock {schema.kind} file")
    if version > newest:
        raise SchemaTooNew(
            f"{path}: has schema version {version}, but this program knows versions up to "
            f"{newest}: start the newer program that wrote it, or restore a backup"
        )


def _apply(
    connection: apsw.Connection, path: Path, schema: Schema, step: Migration, *, newest: int
) -> None:
    with immediate(connection):
        # Read under the lock: another process may have been faster, or newer.
        _check_identity(connection, path, schema, newest=newest)
        if connection.pragma("user_version") >= step.number:
            return
        connection.execute(step.sql)
        connection.execute(f"PRAGMA user_version = {step.number}")
        connection.execute(f"PRAGMA application_id = {schema.application_id}")
