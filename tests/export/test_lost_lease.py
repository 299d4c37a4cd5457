"""Fenced (promise 3): a worker that lost its lease can change nothing."""

import pytest
import trio
from trio.abc import Clock

from engine.model import ExportStatus
from tests.support.brake import STEPS, Brake
from tests.support.builders import numbered
from tests.support.cut_off import CutOff
from tests.support.paused import Pause
from tests.support.plant import LIMITS, Plant

RESOURCES = numbered("Observation", 700, padding=200) + numbered("Patient", 300, padding=200)


async def undisturbed(plant: Plant) -> dict[str, bytes]:
    async with plant.engine("alone") as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        assert (await engine.ended(job)).status is ExportStatus.COMPLETE
        return await engine.files(job)


@pytest.mark.parametrize("step", STEPS)
async def test_a_paused_worker_comes_back_as_a_zombie_and_changes_nothing(
    plant: Plant, autojump_clock: Clock, step: str, scheduler_seed: int
) -> None:
    expected = await undisturbed(plant)
    brake, pause = Brake(step), Pause(plant.clock)
    async with plant.engine("w1", wrap=lambda ports: pause.wrap(brake.wrap(ports))) as zombie:
        job = await zombie.start()
        await brake.reached.wait()
        pause.pause()
        async with plant.engine("w2") as heir:
            done = await heir.ended(job)
            assert (done.status, done.token, done.attempt) == (ExportStatus.COMPLETE, 2, 2)
            before = await heir.files(job)
            brake.go.set()
            pause.resume()
            await zombie.idle()
            assert await heir.job(job) == done
            assert await heir.files(job) == before == expected
            assert await heir.stray_files() == []


async def test_a_worker_cut_off_from_the_store_stops_itself_before_its_lease_ends(
    plant: Plant,
    autojump_clock: Clock,
) -> None:
    cut_off = CutOff()
    brake = Brake("append")
    async with plant.engine("w1", wrap=lambda ports: cut_off.wrap(brake.wrap(ports))) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        await brake.reached.wait()
        began = trio.current_time()
        cut_off.now = True
        await engine.idle()
        lasted = trio.current_time() - began
        assert lasted < LIMITS.lease_seconds - LIMITS.lease_margin_seconds + 1
        assert lasted > LIMITS.lease_seconds / 2
        cut_off.now = False
        brake.go.set()
        assert (await engine.ended(job)).status is ExportStatus.COMPLETE


async def test_renewals_that_fail_now_and_then_cost_nothing(
    plant: Plant, autojump_clock: Clock
) -> None:
    cut_off, brake = CutOff(), Brake("append")
    async with plant.engine("w1", wrap=lambda ports: cut_off.wrap(brake.wrap(ports))) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        await brake.reached.wait()
        for _ in range(4):
            cut_off.now = True
            await trio.sleep(30)
            cut_off.now = False
            await trio.sleep(30)
        brake.go.set()
        done = await engine.ended(job)
        assert (done.status, done.token) == (ExportStatus.COMPLETE, 1)
