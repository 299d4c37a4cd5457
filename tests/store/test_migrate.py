"""Files: made, brought up to date, or refused with a reason."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest
import trio

from backends.clock import SystemStoreClock
from backends.sqlite.connection import Tuning, open_connection
from backends.sqlite.doors import inline_doors
from backends.sqlite.migrate import (
    CONTROL,
    TENANT,
    Migration,
    Schema,
    load_migrations,
    prepare_file,
)
from backends.sqlite.tenant_store import open_tenant_store
from engine.errors import SchemaTooNew, StartupError, StoreDamaged
from tests.support.words import WordsMaker

SCHEMA = Schema("tenant", 0x54455354)
ONE = Migration(1, "CREATE TABLE one (a); INSERT INTO one VALUES (1)")
TWO = Migration(2, "CREATE TABLE two (b)")
BROKEN = Migration(2, "CREATE TABLE two (b); SELECT nonsense FROM nowhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.db"


def facts(path: Path) -> tuple[object, ...]:
    connection = open_connection(path, Tuning())
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
        return connection.pragma("user_version"), connection.pragma("application_id"), tables
    finally:
        connection.close()


def test_a_new_file_has_the_newest_version_and_our_mark(path: Path) -> None:
    prepare_file(path, SCHEMA, (ONE, TWO))
    assert facts(path) == (2, SCHEMA.application_id, ["one", "two"])


def test_a_new_file_can_be_read_by_its_owner_only(path: Path) -> None:
    prepare_file(path, SCHEMA, (ONE,))
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_missing_migrations_are_applied(path: Path) -> None:
    prepare_file(path, SCHEMA, (ONE,))
    prepare_file(path, SCHEMA, (ONE, TWO))
    prepare_file(path, SCHEMA, (ONE, TWO))
    assert facts(path) == (2, SCHEMA.application_id, ["one", "two"])


def test_a_migration_that_breaks_off_leaves_the_version_before(path: Path) -> None:
    prepare_file(path, SCHEMA, (ONE,))
    with pytest.raises(apsw.SQLError):
        prepare_file(path, SCHEMA, (ONE, BROKEN))
    assert facts(path) == (1, SCHEMA.application_id, ["one"])
    prepare_file(path, SCHEMA, (ONE, TWO))
    assert facts(path) == (2, SCHEMA.application_id, ["one", "two"])


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    prepare_file(path, SCHEMA, (ONE, TWO))
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=r"file\.db: has schema version 2.*up to 1"):
        prepare_file(path, SCHEMA, (ONE,))
    assert path.read_bytes() == before


def test_another_kind_of_file_is_refused(path: Path) -> None:
    prepare_file(path, SCHEMA, (ONE,))
    with pytest.raises(StoreDamaged, match="not a Penstock tenant file"):
        prepare_file(path, TENANT)


def test_an_sqlite_file_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreDamaged):
        prepare_file(path, TENANT)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look into" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged):
        prepare_file(path, TENANT)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_a_startup_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError):
        prepare_file(tmp_path / "missing" / "file.db", TENANT)


@pytest.mark.parametrize("schema", [TENANT, CONTROL])
def test_the_shipped_migrations_are_numbered_without_a_gap(schema: Schema) -> None:
    numbers = [step.number for step in load_migrations(schema)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_file_that_is_not_in_wal_mode_is_not_used(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE one (a)")
    connection.close()
    with pytest.raises(StoreDamaged, match="WAL"):
        open_connection(path)


async def test_a_store_with_damaged_pages_says_so(path: Path) -> None:
    async with open_tenant_store(
        path, clock=SystemStoreClock(), doors=inline_doors(), new_id=lambda: "s", maker=WordsMaker()
    ):
        await trio.lowlevel.checkpoint()
    damaged = bytearray(path.read_bytes())
    damaged[100:200] = b"\xff" * 100  # the schema's own page
    path.write_bytes(damaged)
    with pytest.raises(StoreDamaged):
        async with open_tenant_store(
            path,
            clock=SystemStoreClock(),
            doors=inline_doors(),
            new_id=lambda: "s",
            maker=WordsMaker(),
        ):
            pytest.fail("opened a damaged file")


async def test_a_store_keeps_the_id_that_it_was_given_first(path: Path) -> None:
    ids = iter(["first", "second"])
    found = []
    for _ in range(2):
        async with open_tenant_store(
            path,
            clock=SystemStoreClock(),
            doors=inline_doors(),
            new_id=lambda: next(ids),
            maker=WordsMaker(),
        ) as store:
            found.append((await store.statistics()).store)
    assert found == ["first", "first"]


def test_a_file_that_several_make_at_once_is_made_by_one_and_found_by_the_others(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(4) as makers:
        for n in range(25):
            path = tmp_path / f"{n}.db"
            list(makers.map(lambda _, path=path: prepare_file(path, TENANT), range(4)))
            assert facts(path)[0] == len(load_migrations(TENANT))
