"""A tenant with sample data on real files, and what its index holds."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.fhir.body import prepare
from engine.model import Prepared
from engine.ports import Ports, TenantStore
from engine.tenant import TenantId
from tests.process.site import reading
from tests.support.ports import sqlite_ports

ACME = TenantId("acme")

# Rows of the dictionaries stay when an index is emptied, so they are compared too.
TABLES = ("tok", "ref", "fwd", "str", "dat", "num", "qty", "term", "unit", "path")


def resource(body: bytes) -> Prepared:
    return prepare(body, bytes_max=1 << 20)


def tenant_file(folder: Path) -> Path:
    (path,) = (folder / "tenants").glob("*.db")
    return path


def index_of(path: Path) -> dict[str, list[Any]]:
    """Every row of the index, but for the generation that it was made with."""
    with reading(path) as connection:
        found = {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall())
            for table in TABLES
        }
        live = connection.execute("SELECT res, rid, tkey FROM live ORDER BY res").fetchall()
        return found | {"live": live}


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[Ports]:
    async with sqlite_ports(tmp_path, inline=True) as ports:
        await ports.tenants.ensure(ACME)
        yield ports


@pytest.fixture
async def store(ports: Ports) -> TenantStore:
    return await ports.tenants.store(ACME)


@pytest.fixture
def path(tmp_path: Path, store: TenantStore) -> Path:
    return tenant_file(tmp_path / "data")
