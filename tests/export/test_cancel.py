"""Cancelled means stopped (promise 5): within a second, with nothing left behind."""

import pytest
import trio
from trio.abc import Clock

from engine.errors import NotFound
from engine.messages import CancelJob
from engine.model import ExportStatus
from tests.support.brake import STEPS, Brake
from tests.support.builders import numbered
from tests.support.exports import ACME
from tests.support.plant import Plant


@pytest.mark.parametrize("step", STEPS)
async def test_a_cancelled_export_leaves_no_file_and_no_query(
    plant: Plant, autojump_clock: Clock, step: str, scheduler_seed: int
) -> None:
    brake = Brake(step)
    async with plant.engine(wrap=brake.wrap) as engine:
        await engine.fill(numbered("Patient", 900, padding=200))
        job = await engine.start()
        await brake.reached.wait()
        cancelled_at = trio.current_time()
        await engine.ports.export_jobs.cancel(ACME, job)
        await engine.idle()
        assert trio.current_time() - cancelled_at < 1.0
        assert (await engine.job(job)).status is ExportStatus.CANCELLED
        assert await engine.ports.outputs.jobs() == []


async def test_a_deleted_export_is_not_found_and_its_files_go(
    plant: Plant, autojump_clock: Clock
) -> None:
    brake = Brake("finalize")
    async with plant.engine(wrap=brake.wrap) as engine:
        await engine.fill(numbered("Patient", 900, padding=200))
        job = await engine.start()
        await brake.reached.wait()
        await engine.ports.export_jobs.delete(ACME, job)
        engine.supervisor.tell(CancelJob(job))
        await engine.idle()
        assert await engine.ports.outputs.jobs() == []
        with pytest.raises(NotFound):
            await engine.job(job)


async def test_deleting_a_complete_export_removes_its_files_and_its_pin(
    plant: Plant, autojump_clock: Clock
) -> None:
    async with plant.engine() as engine:
        await engine.fill(numbered("Patient", 10))
        job = await engine.start()
        await engine.ended(job)
        await engine.idle()
        assert await engine.ports.outputs.jobs() != []
        await engine.ports.export_jobs.delete(ACME, job)
        engine.supervisor.tell(CancelJob(job))
        await trio.sleep(1)
        assert await engine.ports.outputs.jobs() == []
        assert await (await engine.store()).pins() == []


async def test_a_cancel_before_any_claim_is_final(plant: Plant, autojump_clock: Clock) -> None:
    async with plant.ports("w0") as ports:
        await ports.tenants.ensure(ACME)
        from engine.export.kickoff import kick_off
        from engine.model import ExportRequest
        from tests.support.plant import LIMITS

        job = await kick_off(ports, LIMITS, ACME, ExportRequest())
        await ports.export_jobs.cancel(ACME, job.id)
    async with plant.engine() as engine:
        await trio.sleep(30)
        assert engine.supervisor.statistics().jobs_claimed == 0
        assert (await engine.job(job.id)).status is ExportStatus.CANCELLED


async def test_a_finish_after_a_cancel_does_not_complete_the_export(
    plant: Plant, autojump_clock: Clock
) -> None:
    brake = Brake("finish")
    async with plant.engine(wrap=brake.wrap) as engine:
        await engine.fill(numbered("Patient", 10))
        job = await engine.start()
        await brake.reached.wait()
        await engine.ports.export_jobs.cancel(ACME, job)
        brake.go.set()
        await engine.idle()
        assert (await engine.job(job)).status is ExportStatus.CANCELLED


async def test_a_cancel_after_the_finish_leaves_the_export_complete(
    plant: Plant, autojump_clock: Clock
) -> None:
    async with plant.engine() as engine:
        await engine.fill(numbered("Patient", 10))
        job = await engine.start()
        await engine.ended(job)
        assert (await engine.ports.export_jobs.cancel(ACME, job)).status is ExportStatus.COMPLETE
        assert len(await engine.files(job)) == 1
