"""Tenants."""

import pytest
import trio

from engine.errors import NotFound
from engine.tenant import TenantId
from tests.support.builders import prepared
from tests.support.exports import ACME, OTHER


async def test_a_tenant_is_made_once(backend):
    first = await backend.tenants.ensure(TenantId("new"))
    assert await backend.tenants.ensure(TenantId("new")) == first
    assert await backend.tenants.get(TenantId("new")) == first


async def test_an_unknown_tenant_is_not_found(backend):
    with pytest.raises(NotFound):
        await backend.tenants.get(TenantId("nobody"))
    with pytest.raises(NotFound):
        await backend.tenants.store(TenantId("nobody"))


async def test_all_tenants_are_listed(backend):
    assert {tenant.id for tenant in await backend.tenants.list()} == {ACME, OTHER}


async def test_keys_are_one_opaque_segment_each(backend):
    acme, other = await backend.tenants.get(ACME), await backend.tenants.get(OTHER)
    assert acme.key != other.key
    assert all("/" not in key and "acme" not in key for key in (acme.key, other.key))
    assert not other.key.startswith(acme.key)


async def test_a_tenant_made_by_several_at_once_is_one(site, scheduler_seed):
    made = []

    async def ensure(backend) -> None:
        made.append(await backend.tenants.ensure(ACME))

    async with (
        site.backend("w1") as one,
        site.backend("w2") as two,
        trio.open_nursery() as nursery,
    ):
        for backend in (one, two, one, two):
            nursery.start_soon(ensure, backend)
    assert len(set(made)) == 1


async def test_a_store_opened_by_several_at_once_is_one(backend, scheduler_seed):
    ids = set()

    async def look() -> None:
        store = await backend.tenants.store(ACME)
        ids.add((await store.statistics()).store)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(look)
    assert len(ids) == 1


async def test_tenants_and_their_data_outlive_the_process(site):
    async with site.backend("w1") as backend:
        tenant = await backend.tenants.ensure(ACME)
        store = await backend.tenants.store(ACME)
        written = await store.create(prepared("Patient", "a"))
        id = (await store.statistics()).store
    async with site.backend("w2") as backend:
        assert await backend.tenants.ensure(ACME) == tenant
        store = await backend.tenants.store(ACME)
        assert await store.read("Patient", "a") == written.version
        assert (await store.statistics()).store == id


async def test_a_write_of_one_process_is_read_by_another(site):
    async with site.backend("w1") as one, site.backend("w2") as two:
        await one.tenants.ensure(ACME)
        written = await (await one.tenants.store(ACME)).create(prepared("Patient", "a"))
        store = await two.tenants.store(ACME)
        assert await store.read("Patient", "a") == written.version
        assert (await store.update(prepared("Patient", "a"))).version.version == 2
