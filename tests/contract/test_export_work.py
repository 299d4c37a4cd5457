"""ExportWork: what the holder of a lease may do, and nobody else."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio

from backends import Backend
from engine.errors import JobCancelled, LeaseLost
from engine.model import ExportStatus, ExportView, Issue, JobId, Lease
from tests.support.clocks import START_MS
from tests.support.exports import (
    ACME,
    LEASE_SECONDS,
    claim,
    finalized,
    output_part,
    planned,
    start,
    start_and_claim,
)

J1 = JobId("j1")
PLAN = tuple(planned(number) for number in range(3))
ISSUE = Issue(severity="fatal", code="exception", diagnostics="it broke")

EFFECTS: dict[str, Callable[[Backend, Lease], Awaitable[None]]] = {
    "heartbeat": lambda backend, lease: backend.export_leases.heartbeat(lease),
    "save_plan": lambda backend, lease: backend.export_work.save_plan(lease, PLAN),
    "record_part": lambda backend, lease: backend.export_work.record_part(
        lease, output_part(0, lease)
    ),
    "finish": lambda backend, lease: backend.export_work.finish(lease, retention_s=60),
    "fail": lambda backend, lease: backend.export_work.fail(lease, ISSUE),
}


@pytest.fixture(params=EFFECTS)
def effect(request: pytest.FixtureRequest) -> Callable[[Backend, Lease], Awaitable[None]]:
    return EFFECTS[request.param]


async def test_a_new_job_has_no_plan_and_no_parts(backend):
    lease = await start_and_claim(backend, "j1")
    job = await backend.export_jobs.get(ACME, J1)
    assert await backend.export_work.view(lease) == ExportView(job=job, plan=None, recorded=())


async def test_the_plan_and_the_parts_are_seen_by_the_next_owner(site):
    async with site.backend("w2") as survivor:
        async with site.backend("w1") as dying:
            lease = await start_and_claim(dying, "j1")
            await dying.export_work.save_plan(lease, PLAN)
            await dying.export_work.record_part(lease, output_part(1, lease))
            await dying.export_work.record_part(lease, finalized(PLAN[0], lease, rows=0))
        view = await survivor.export_work.view(await claim(survivor, "w2"))
    assert view.plan == PLAN
    assert view.recorded == (finalized(PLAN[0], lease, rows=0), output_part(1, lease))


async def test_an_empty_plan_is_a_plan(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.save_plan(lease, ())
    assert (await backend.export_work.view(lease)).plan == ()


async def test_a_part_recorded_twice_is_a_bug(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.record_part(lease, output_part(0, lease))
    with pytest.raises(AssertionError):
        await backend.export_work.record_part(lease, finalized(PLAN[0], lease, rows=9))
    assert (await backend.export_work.view(lease)).recorded == (output_part(0, lease),)


async def test_two_parts_in_one_place_are_a_bug(backend):
    """Neither two parts under one number nor two under one file name can be meant."""
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.record_part(lease, output_part(0, lease))
    for changed in ({"number": 1}, {"index": 2}, {"type": "Group"}):
        part = msgspec.structs.replace(output_part(0, lease), **changed)
        with pytest.raises(AssertionError):
            await backend.export_work.record_part(lease, part)
    assert len((await backend.export_work.view(lease)).recorded) == 1


async def test_a_finished_job_is_complete_until_it_expires(backend, clock):
    lease = await start_and_claim(backend, "j1")
    clock.advance(7)
    await backend.export_work.finish(lease, retention_s=60)
    job = await backend.export_jobs.get(ACME, J1)
    assert job.status is ExportStatus.COMPLETE
    assert job.finished_ms == START_MS + 7_000
    assert job.expires_ms == START_MS + 67_000
    assert job.issue is None


async def test_a_failed_job_says_why(backend, clock):
    lease = await start_and_claim(backend, "j1")
    clock.advance(7)
    await backend.export_work.fail(lease, ISSUE)
    job = await backend.export_jobs.get(ACME, J1)
    assert (job.status, job.issue) == (ExportStatus.ERROR, ISSUE)
    assert (job.finished_ms, job.expires_ms) == (START_MS + 7_000, None)


@pytest.mark.parametrize("end", ["finish", "fail"])
async def test_an_end_repeated_by_its_holder_is_a_success(backend, clock, end):
    lease = await start_and_claim(backend, "j1")
    await EFFECTS[end](backend, lease)
    job = await backend.export_jobs.get(ACME, J1)
    clock.advance(100)
    await EFFECTS[end](backend, lease)
    assert await backend.export_jobs.get(ACME, J1) == job


@pytest.mark.parametrize(("first", "second"), [("finish", "fail"), ("fail", "finish")])
async def test_an_ended_job_does_not_end_otherwise(backend, first, second):
    lease = await start_and_claim(backend, "j1")
    await EFFECTS[first](backend, lease)
    job = await backend.export_jobs.get(ACME, J1)
    with pytest.raises(LeaseLost):
        await EFFECTS[second](backend, lease)
    assert await backend.export_jobs.get(ACME, J1) == job


@pytest.mark.parametrize("name", ["save_plan", "record_part"])
async def test_a_complete_job_takes_no_more(backend, name):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    with pytest.raises(LeaseLost):
        await EFFECTS[name](backend, lease)


async def test_finish_after_cancel_is_refused_and_cancelled_stays(backend):
    lease = await start_and_claim(backend, "j1")
    cancelled = await backend.export_jobs.cancel(ACME, J1)
    with pytest.raises(JobCancelled):
        await backend.export_work.finish(lease, retention_s=60)
    assert await backend.export_jobs.get(ACME, J1) == cancelled


async def test_cancel_after_finish_leaves_it_complete(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    assert (await backend.export_jobs.cancel(ACME, J1)).status is ExportStatus.COMPLETE


async def test_of_finish_and_cancel_at_once_one_wins_and_both_agree(backend, scheduler_seed):
    lease = await start_and_claim(backend, "j1")
    outcomes = []

    async def finish() -> None:
        try:
            await backend.export_work.finish(lease, retention_s=60)
            outcomes.append(ExportStatus.COMPLETE)
        except JobCancelled:
            outcomes.append(ExportStatus.CANCELLED)

    async def cancel() -> None:
        outcomes.append((await backend.export_jobs.cancel(ACME, J1)).status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        nursery.start_soon(cancel)
    assert outcomes == [(await backend.export_jobs.get(ACME, J1)).status] * 2


async def test_a_zombie_can_change_nothing(backend, clock, effect):
    zombie = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS + 1)
    owner = await claim(backend, "w2")
    before = await backend.export_work.view(owner)
    with pytest.raises(LeaseLost):
        await effect(backend, zombie)
    assert await backend.export_work.view(owner) == before
    await effect(backend, owner)  # and it does not stand in the owner's way


async def test_a_zombie_is_refused_after_the_new_owner_is_done(backend, clock, effect):
    zombie = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS + 1)
    owner = await claim(backend, "w2")
    await backend.export_work.record_part(owner, output_part(0, owner))
    await backend.export_work.finish(owner, retention_s=60)
    done = await backend.export_upkeep.find(J1)
    with pytest.raises(LeaseLost):
        await effect(backend, zombie)
    assert await backend.export_upkeep.find(J1) == done


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_the_worker_of_a_cancelled_job_can_change_nothing(backend, effect, end):
    lease = await start_and_claim(backend, "j1")
    await getattr(backend.export_jobs, end)(ACME, J1)
    before = await backend.export_upkeep.find(J1)
    with pytest.raises(JobCancelled):
        await effect(backend, lease)
    assert await backend.export_upkeep.find(J1) == before


@pytest.mark.parametrize("name", ["heartbeat", "save_plan", "record_part"])
async def test_every_effect_renews_the_lease(backend, clock, name):
    lease = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS)
    await EFFECTS[name](backend, lease)
    clock.advance(LEASE_SECONDS)
    assert await backend.export_leases.claim(lease.worker, LEASE_SECONDS) is None


async def test_a_late_effect_counts_if_nobody_claimed(backend, clock, effect):
    lease = await start_and_claim(backend, "j1")
    clock.advance(10 * LEASE_SECONDS)
    await effect(backend, lease)
    assert (await backend.export_work.view(lease)).job.token == lease.token


async def test_a_cancelled_record_has_happened_or_not(backend):
    lease = await start_and_claim(backend, "j1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await backend.export_work.record_part(lease, output_part(0, lease))
    recorded = (await backend.export_work.view(lease)).recorded
    assert recorded in ((), (output_part(0, lease),))


async def test_parts_of_one_job_are_recorded_at_once(backend, scheduler_seed):
    lease = await start_and_claim(backend, "j1")
    async with trio.open_nursery() as nursery:
        for number in (4, 0, 2, 1, 3):
            part = output_part(number, lease)
            nursery.start_soon(backend.export_work.record_part, lease, part)
    recorded = (await backend.export_work.view(lease)).recorded
    assert [part.number for part in recorded] == [0, 1, 2, 3, 4]


async def test_jobs_have_parts_of_their_own(backend):
    first = await start_and_claim(backend, "j1")
    second = await start_and_claim(backend, "j2")
    await backend.export_work.record_part(first, output_part(0, first))
    await backend.export_work.record_part(second, output_part(0, second))
    assert len((await backend.export_work.view(second)).recorded) == 1


async def test_a_job_that_was_not_claimed_takes_nothing(backend, effect):
    await start(backend, "j1")
    lease = Lease(job=J1, tenant=ACME, worker="w1", token=0, attempt=0, seconds=60)
    with pytest.raises(LeaseLost):
        await effect(backend, lease)
