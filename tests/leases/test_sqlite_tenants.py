"""A tenant's file: named by its key alone, opened once, and nobody else's trouble."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

import backends
from backends import Backend
from engine.errors import SchemaTooNew, StoreDamaged
from engine.model import WorkerId
from engine.ports import TenantStore
from tests.support.exports import ACME, OTHER


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")) as backend:
        await backend.tenants.ensure(ACME)
        await backend.tenants.ensure(OTHER)
        yield backend


async def file_of(backend: Backend, folder: Path) -> Path:
    return folder / "tenants" / f"{(await backend.tenants.get(ACME)).key}.db"


async def test_file_is_named_by_the_key_alone(backend: Backend, tmp_path: Path) -> None:
    await backend.tenants.store(ACME)
    await backend.tenants.store(OTHER)
    keys = {tenant.key for tenant in await backend.tenants.list()}
    assert {path.stem for path in (tmp_path / "tenants").glob("*.db")} == keys
    assert [key for key in keys if "acme" in key] == []


async def test_store_is_opened_for_the_next_caller_when_the_first_is_cancelled(
    backend: Backend,
) -> None:
    stores: list[TenantStore] = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            stores.append(await backend.tenants.store(ACME))

    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()
        nursery.start_soon(ask, first)
        await trio.testing.wait_all_tasks_blocked()  # in the midst of opening
        nursery.start_soon(ask, trio.CancelScope())
        first.cancel()
    assert stores[-1] is await backend.tenants.store(ACME)
    assert await stores[-1].read("Patient", "p1") is None


async def test_damaged_file_of_one_tenant_stops_no_other(backend: Backend, tmp_path: Path) -> None:
    (await file_of(backend, tmp_path)).write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreDamaged):
            await backend.tenants.store(ACME)
    store = await backend.tenants.store(OTHER)
    assert await store.read("Patient", "p1") is None


async def test_file_of_a_newer_program_is_refused_until_that_one_is_back(
    backend: Backend, tmp_path: Path
) -> None:
    await backend.tenants.store(OTHER)
    path = await file_of(backend, tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA application_id = {int.from_bytes(b'PenT')}")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(SchemaTooNew, match="9999"):
        await backend.tenants.store(ACME)
    path.unlink()
    assert (await (await backend.tenants.store(ACME)).statistics()).seq == 0
