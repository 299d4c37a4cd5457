"""What the memory backend promises beyond the ports: processes that die, power, full disks."""

import pytest

from backends.memory import open_memory
from engine.errors import OutputFull, StoreUnavailable
from engine.model import Batch, FileKind, JobId, PartKey, WorkerId
from engine.tenant import TenantKey
from tests.support.builders import prepared
from tests.support.clocks import StoreClockByHand
from tests.support.exports import ACME, claim, start_and_claim
from tests.support.ports import memory_world

W1, W2 = WorkerId("w1"), WorkerId("w2")
T1, J1 = TenantKey("0123456789abcdef"), JobId("j1")
KEY = PartKey(tenant=T1, job=J1, kind=FileKind.OUTPUT, type="Patient", index=1, token=1)
BATCH = Batch((b"{}\n",), 1)


async def test_what_a_killed_process_calls_has_no_effect():
    world = memory_world(clock=StoreClockByHand())
    async with open_memory(world, worker=W1) as dead, open_memory(world, worker=W2) as alive:
        lease = await start_and_claim(dead, "j1")
        store = await dead.tenants.store(ACME)
        world.kill(W1)
        with pytest.raises(StoreUnavailable):
            await store.create(prepared("Patient", "a"))
        with pytest.raises(StoreUnavailable):
            await dead.export_leases.heartbeat(lease)
        assert await (await alive.tenants.store(ACME)).read("Patient", "a") is None
        assert (await claim(alive, "w2")).token == lease.token + 1


async def test_a_killed_process_leaves_its_unfinished_file():
    world = memory_world(clock=StoreClockByHand())
    async with open_memory(world, worker=W1) as dead, open_memory(world, worker=W2) as alive:
        async with dead.outputs.open_part(KEY) as sink:
            await sink.append(BATCH)
            world.kill(W1)
        assert [name.finished for name in await alive.outputs.names(T1, J1)] == [False]


async def test_a_power_cut_loses_what_was_not_finalized_and_nothing_else():
    world = memory_world(clock=StoreClockByHand())
    async with open_memory(world, worker=W1) as first:
        async with first.outputs.open_part(KEY) as sink:
            await sink.append(BATCH)
            durable = await sink.finalize()
        await first.tenants.ensure(ACME)
        written = await (await first.tenants.store(ACME)).create(prepared("Patient", "a"))
        async with first.outputs.open_part(
            PartKey(tenant=T1, job=J1, kind=FileKind.OUTPUT, type="Patient", index=2, token=1)
        ) as sink:
            await sink.append(BATCH)
            world.lose_power()
    async with open_memory(world, worker=W2) as second:
        names = await second.outputs.names(T1, J1)
        assert [name.location for name in names] == [durable.location]
        store = await second.tenants.store(ACME)
        assert await store.read("Patient", "a") == written.version


async def test_a_process_started_again_under_its_name_is_another():
    world = memory_world(clock=StoreClockByHand())
    async with open_memory(world, worker=W1) as old, open_memory(world, worker=W1) as new:
        with pytest.raises(StoreUnavailable):
            await old.tenants.ensure(ACME)
        await new.tenants.ensure(ACME)
        assert world.worker_alive(W1)
    assert not world.worker_alive(W1)


async def test_a_full_disk_refuses_bytes_and_has_room_again_after_a_removal():
    world = memory_world(clock=StoreClockByHand())
    world.files_bytes_max = 5
    async with open_memory(world, worker=W1) as backend:
        async with backend.outputs.open_part(KEY) as sink:
            await sink.append(BATCH)
            with pytest.raises(OutputFull):
                await sink.append(BATCH)
        await backend.outputs.check()
        assert world.files == {}
