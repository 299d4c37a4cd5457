"""The schema and the statements of control.db against the model, and against each other."""

import enum
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import backends.sqlite
from backends.sqlite.connection import READER, open_connection
from backends.sqlite.control import SQL
from backends.sqlite.migrate import CONTROL, prepare_file
from engine.model import ExportStatus, FileKind

PARAMETER = re.compile(r":(\w+)")
SOURCES = Path(backends.sqlite.__file__).parent


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = tmp_path / "control.db"
    prepare_file(path, CONTROL)
    connection = open_connection(path, READER)
    yield connection
    connection.close()


def values_of(connection: apsw.Connection, table: str, column: str) -> set[str]:
    """The values that the schema allows in a column."""
    sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).get
    found = re.search(rf"\b{column}\s+IN \(([^)]*)\)", sql)
    assert found is not None
    return set(re.findall(r"'([^']*)'", found[1]))


@pytest.mark.parametrize(
    ("table", "column", "known"),
    [("export_job", "status", ExportStatus), ("export_part", "kind", FileKind)],
)
def test_schema_knows_every_value_of_an_enum_and_no_other(
    connection: apsw.Connection, table: str, column: str, known: type[enum.StrEnum]
) -> None:
    assert values_of(connection, table, column) == set(known)


def test_schema_and_model_agree_which_statuses_are_final(connection: apsw.Connection) -> None:
    sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'export_job'").get
    found = re.search(r"finished_ms IS NOT NULL\) = \(status IN \(([^)]*)\)", sql)
    assert found is not None
    final = set(re.findall(r"'([^']*)'", found[1]))
    assert final == {status for status in ExportStatus if status.ended}


def explain(connection: apsw.Connection, name: str) -> list[str]:
    values = dict.fromkeys(PARAMETER.findall(SQL[name]))
    rows = connection.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", values).fetchall()
    return [row[3] for row in rows]


@pytest.mark.parametrize("name", SQL)
def test_statement_fits_the_schema_and_is_used(connection: apsw.Connection, name: str) -> None:
    explain(connection, name)
    code = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    assert f'"{name}"' in code


# What runs often must not grow with the number of jobs that ever were.
@pytest.mark.parametrize("name", sorted(set(SQL) - {"shown_jobs_of_all"}))
def test_no_statement_looks_at_every_job_or_part(connection: apsw.Connection, name: str) -> None:
    scans = [
        step
        for step in explain(connection, name)
        if re.fullmatch(r"SCAN (job|part|export_job|export_part)", step)
    ]
    assert scans == []
