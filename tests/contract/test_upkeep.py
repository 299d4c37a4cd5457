"""ExportUpkeep: which jobs' files may go, and when."""

import pytest

from engine.model import ExportStatus, Issue, JobId, RemovableExport
from tests.support.exports import (
    ACME,
    LEASE_SECONDS,
    claim,
    output_part,
    planned,
    start,
    start_and_claim,
)

J1 = JobId("j1")


async def removable(backend) -> list[str]:
    return [job.id for job in await backend.export_upkeep.removable()]


async def test_open_jobs_are_not_removable(backend):
    await start_and_claim(backend, "j1")
    await start(backend, "j2")
    assert await removable(backend) == []


async def test_a_complete_job_is_removable_once_it_expired(backend, clock):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    clock.advance(59)
    assert await removable(backend) == []
    clock.advance(2)
    assert await removable(backend) == ["j1"]


async def test_a_job_is_removable_with_its_tenants_key(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.fail(lease, Issue(diagnostics="it broke"))
    tenant = await backend.tenants.get(ACME)
    expected = RemovableExport(id=J1, tenant=ACME, tenant_key=tenant.key)
    assert list(await backend.export_upkeep.removable()) == [expected]


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_a_job_nobody_ever_claimed_is_removable_at_once(backend, end):
    await start(backend, "j1")
    await getattr(backend.export_jobs, end)(ACME, J1)
    assert await removable(backend) == ["j1"]


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_a_cancelled_job_is_not_removable_while_its_lease_may_live(backend, clock, end):
    await start_and_claim(backend, "j1")
    await getattr(backend.export_jobs, end)(ACME, J1)
    clock.advance(LEASE_SECONDS)
    assert await removable(backend) == []
    clock.advance(0.001)
    assert await removable(backend) == ["j1"]


async def test_a_cancelled_job_is_removable_once_its_worker_let_go(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_jobs.cancel(ACME, J1)
    await backend.export_leases.release(lease)
    assert await removable(backend) == ["j1"]


async def test_a_cancelled_job_is_removable_once_its_worker_is_dead(site):
    async with site.backend("w2") as survivor:
        async with site.backend("w1") as dying:
            await start_and_claim(dying, "j1")
            await survivor.export_jobs.cancel(ACME, J1)
            assert await removable(survivor) == []
        assert await removable(survivor) == ["j1"]


async def test_a_deleted_complete_job_is_removable_before_it_expires(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    await backend.export_jobs.delete(ACME, J1)
    assert await removable(backend) == ["j1"]


async def test_no_more_are_given_than_asked_for(backend):
    for id in ("j1", "j2", "j3"):
        await start(backend, id)
        await backend.export_jobs.cancel(ACME, JobId(id))
    assert len(await backend.export_upkeep.removable(limit=2)) == 2


async def test_a_purged_job_is_still_shown_without_its_parts(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.save_plan(lease, (planned(0),))
    await backend.export_work.record_part(lease, output_part(0, lease))
    await backend.export_jobs.cancel(ACME, J1)
    await backend.export_leases.release(lease)
    await backend.export_upkeep.purged(J1)
    assert await removable(backend) == []
    assert list(await backend.export_jobs.parts(ACME, J1)) == []
    assert (await backend.export_jobs.get(ACME, J1)).status is ExportStatus.CANCELLED


async def test_a_purged_deleted_job_is_forgotten(backend):
    await start(backend, "j1")
    await backend.export_jobs.delete(ACME, J1)
    await backend.export_upkeep.purged(J1)
    assert await backend.export_upkeep.find(J1) is None
    assert await removable(backend) == []


async def test_purging_again_does_nothing(backend):
    await start(backend, "j1")
    await backend.export_jobs.delete(ACME, J1)
    await backend.export_upkeep.purged(J1)
    await backend.export_upkeep.purged(J1)
    assert await backend.export_upkeep.find(J1) is None


async def test_a_job_deleted_after_its_purge_is_not_found_and_gone_in_the_end(backend):
    await start(backend, "j1")
    await backend.export_jobs.cancel(ACME, J1)
    await backend.export_upkeep.purged(J1)
    await backend.export_jobs.delete(ACME, J1)
    for job in await backend.export_upkeep.removable():
        await backend.export_upkeep.purged(job.id)
    assert await backend.export_upkeep.find(J1) is None


async def test_any_job_is_found_with_its_plan_and_parts(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.save_plan(lease, (planned(0), planned(1)))
    await backend.export_work.record_part(lease, output_part(0, lease))
    held = await backend.export_work.view(lease)
    assert await backend.export_upkeep.find(J1) == held
    await backend.export_jobs.delete(ACME, J1)
    found = await backend.export_upkeep.find(J1)
    assert (found.plan, found.recorded) == (held.plan, held.recorded)
    assert found.job.status is ExportStatus.CANCELLED


async def test_an_unknown_job_is_not_found(backend):
    assert await backend.export_upkeep.find(J1) is None


async def test_a_released_job_is_not_removable(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_leases.release(lease, delay_s=3600)
    assert await removable(backend) == []
    assert await backend.export_leases.claim(lease.worker, LEASE_SECONDS) is None


async def test_a_job_claimed_again_after_release_is_not_removable(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_leases.release(lease)
    await claim(backend, "w2")
    assert await removable(backend) == []
