"""ExportJobs: the side of the web."""

import pytest
import trio

from engine.errors import NotFound, TooMany
from engine.model import (
    ExportJob,
    ExportRequest,
    ExportStatus,
    FileKind,
    Issue,
    JobId,
    NewExport,
    Progress,
)
from tests.support.clocks import START_MS
from tests.support.exports import (
    ACME,
    OTHER,
    SNAPSHOT,
    finalized,
    output_part,
    planned,
    start,
    start_and_claim,
)

J1 = JobId("j1")


async def test_a_started_job_is_accepted_and_shown_as_it_was_asked_for(backend):
    issue = Issue(severity="warning", diagnostics="ignored", expression="_foo")
    request = ExportRequest(
        types=("Patient",), since_ms=5, until_ms=9, url="http://a/fhir/$export", issues=(issue,)
    )
    new = NewExport(id=J1, tenant=ACME, request=request, snapshot=SNAPSHOT)
    job = await backend.export_jobs.start(new, open_max=1)
    tenant = await backend.tenants.get(ACME)
    assert job == ExportJob(
        id=J1,
        tenant=ACME,
        tenant_key=tenant.key,
        status=ExportStatus.ACCEPTED,
        request=request,
        snapshot=SNAPSHOT,
        created_ms=START_MS,
    )
    assert await backend.export_jobs.get(ACME, J1) == job


async def test_an_unknown_tenant_can_start_nothing(site):
    async with site.backend() as backend:
        new = NewExport(id=J1, tenant=ACME, request=ExportRequest(), snapshot=SNAPSHOT)
        with pytest.raises(NotFound):
            await backend.export_jobs.start(new, open_max=1)


async def test_unknown_jobs_are_not_found(backend):
    await start(backend, "j1")
    await _assert_not_found(backend, ACME, JobId("j2"))


async def test_another_tenants_job_is_not_found_and_not_changed(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.record_part(lease, output_part(0, lease))
    await _assert_not_found(backend, OTHER, J1)
    assert (await backend.export_jobs.get(ACME, J1)).status is ExportStatus.IN_PROGRESS
    assert await backend.export_jobs.list(OTHER) == []


async def test_jobs_are_listed_newest_first(backend, clock):
    for id, tenant in (("a1", ACME), ("b1", OTHER), ("a2", ACME)):
        await start(backend, id, tenant)
        clock.advance(1)
    jobs = backend.export_jobs
    assert [job.id for job in await jobs.list(ACME)] == ["a2", "a1"]
    assert [job.id for job in await jobs.list(None)] == ["a2", "b1", "a1"]
    assert [job.id for job in await jobs.list(None, limit=2)] == ["a2", "b1"]


async def test_no_more_jobs_than_allowed_are_open_at_once(backend):
    for id in ("j1", "j2"):
        await start(backend, id, open_max=2)
    with pytest.raises(TooMany) as refused:
        await start(backend, "j3", open_max=2)
    assert refused.value.retry_after_s > 0
    assert len(await backend.export_jobs.list(ACME)) == 2
    await start(backend, "j3", OTHER, open_max=2)  # each tenant has its own count
    await backend.export_jobs.cancel(ACME, J1)
    await start(backend, "j4", open_max=2)  # an ended one does not count


async def test_a_job_in_progress_counts_as_open(backend):
    await start_and_claim(backend, "j1")
    with pytest.raises(TooMany):
        await start(backend, "j2", open_max=1)


async def test_of_kick_offs_at_once_no_more_than_allowed_get_in(backend, scheduler_seed):
    outcomes = []

    async def kick_off(number: int) -> None:
        try:
            await start(backend, f"j{number}", open_max=3)
            outcomes.append("in")
        except TooMany:
            outcomes.append("refused")

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(kick_off, number)
    assert sorted(outcomes) == ["in"] * 3 + ["refused"] * 5
    assert len(await backend.export_jobs.list(ACME)) == 3


async def test_parts_are_given_in_plan_order_without_the_empty_ones(backend):
    lease = await start_and_claim(backend, "j1")
    plan = tuple(planned(number) for number in range(4))
    await backend.export_work.save_plan(lease, plan)
    for number in (3, 0, 2):
        await backend.export_work.record_part(lease, output_part(number, lease))
    await backend.export_work.record_part(lease, finalized(plan[1], lease, rows=0))
    parts = await backend.export_jobs.parts(ACME, J1)
    assert list(parts) == [output_part(number, lease) for number in (0, 2, 3)]


async def test_one_part_is_found_by_its_kind_type_and_index(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.record_part(lease, output_part(0, lease))
    await backend.export_work.record_part(lease, finalized(planned(1), lease, rows=0))
    jobs = backend.export_jobs
    assert await jobs.part(ACME, J1, FileKind.OUTPUT, "Patient", 1) == output_part(0, lease)
    for kind, type, index in (
        (FileKind.OUTPUT, "Patient", 2),  # recorded, but without a file
        (FileKind.OUTPUT, "Patient", 3),
        (FileKind.OUTPUT, "Group", 1),
        (FileKind.ERROR, "Patient", 1),
    ):
        with pytest.raises(NotFound):
            await jobs.part(ACME, J1, kind, type, index)


async def test_progress_is_what_the_plan_and_the_recorded_parts_say(backend):
    lease = await start_and_claim(backend, "j1")
    plan = tuple(planned(number) for number in range(3))
    await backend.export_work.save_plan(lease, plan)
    await backend.export_work.record_part(lease, finalized(plan[0], lease, rows=5))
    await backend.export_work.record_part(lease, finalized(plan[2], lease, rows=0))
    progress = (await backend.export_jobs.get(ACME, J1)).progress
    assert progress == Progress(
        parts_done=2, parts_total=3, rows_done=5, bytes_done=40, bytes_estimate=300
    )


async def test_an_open_job_is_cancelled_for_good(backend, clock):
    await start(backend, "j1")
    clock.advance(5)
    job = await backend.export_jobs.cancel(ACME, J1)
    assert (job.status, job.finished_ms) == (ExportStatus.CANCELLED, START_MS + 5000)
    clock.advance(5)
    assert await backend.export_jobs.cancel(ACME, J1) == job
    assert await backend.export_jobs.get(ACME, J1) == job


async def test_cancel_leaves_an_ended_job_as_it_is(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    complete = await backend.export_jobs.get(ACME, J1)
    assert complete.status is ExportStatus.COMPLETE
    assert await backend.export_jobs.cancel(ACME, J1) == complete


async def test_a_failed_job_shows_why_after_a_cancel_too(backend):
    lease = await start_and_claim(backend, "j1")
    issue = Issue(severity="fatal", code="incomplete", diagnostics="the store was replaced")
    await backend.export_work.fail(lease, issue)
    job = await backend.export_jobs.cancel(ACME, J1)
    assert (job.status, job.issue) == (ExportStatus.ERROR, issue)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_deleted_job_is_hidden_for_ever(backend, ended):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.record_part(lease, output_part(0, lease))
    if ended:
        await backend.export_work.finish(lease, retention_s=60)
    await backend.export_jobs.delete(ACME, J1)
    await _assert_not_found(backend, ACME, J1)
    assert await backend.export_jobs.list(None) == []


async def test_an_expired_job_is_still_shown(backend, clock):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    clock.advance(3600)
    job = await backend.export_jobs.get(ACME, J1)
    assert (job.status, job.expires_ms) == (ExportStatus.COMPLETE, START_MS + 60_000)


async def test_jobs_outlive_the_process(site):
    async with site.backend("w1") as backend:
        job = await start(backend, "j1")
    async with site.backend("w2") as backend:
        assert await backend.export_jobs.get(ACME, J1) == job


async def _assert_not_found(backend, tenant, job) -> None:
    jobs = backend.export_jobs
    for call in (jobs.get, jobs.parts, jobs.cancel, jobs.delete):
        with pytest.raises(NotFound):
            await call(tenant, job)
    with pytest.raises(NotFound):
        await jobs.part(tenant, job, FileKind.OUTPUT, "Patient", 1)
