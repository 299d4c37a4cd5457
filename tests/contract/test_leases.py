"""Leases: who may work on a job, by the clock of the store."""

import pytest
import trio

from engine.errors import JobCancelled, LeaseLost
from engine.model import ExportStatus, JobId, Lease, WorkerId
from tests.support.exports import (
    ACME,
    LEASE_SECONDS,
    OTHER,
    claim,
    output_part,
    start,
    start_and_claim,
)

J1 = JobId("j1")
W2 = WorkerId("w2")
MILLISECOND = 0.001
WAKE_SECONDS_MAX = 10  # a wake-up that is lost fails the test, and does not hang it


async def test_nothing_is_claimed_where_nothing_is(backend):
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None


async def test_a_claim_says_all_about_the_lease(backend):
    await start(backend, "j1")
    lease = await claim(backend, "w1")
    assert lease == Lease(
        job=J1, tenant=ACME, worker=WorkerId("w1"), token=1, attempt=1, seconds=LEASE_SECONDS
    )
    job = await backend.export_jobs.get(ACME, J1)
    assert (job.status, job.token, job.attempt) == (ExportStatus.IN_PROGRESS, 1, 1)


async def test_a_held_job_is_not_claimed_again_even_by_its_holder(backend):
    await start_and_claim(backend, "j1")
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None
    assert await backend.export_leases.claim(WorkerId("w1"), LEASE_SECONDS) is None


async def test_an_ended_job_is_not_claimed(backend, clock):
    for id, end in (("j1", "finish"), ("j2", "cancel"), ("j3", "delete")):
        lease = await start_and_claim(backend, id)
        if end == "finish":
            await backend.export_work.finish(lease, retention_s=60)
        else:
            await getattr(backend.export_jobs, end)(ACME, lease.job)
    clock.advance(2 * LEASE_SECONDS)
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None


async def test_tenants_take_turns_and_then_the_oldest_job_is_next(backend, clock):
    for id, tenant in (("a1", ACME), ("a2", ACME), ("a3", ACME), ("b1", OTHER), ("b2", OTHER)):
        await start(backend, id, tenant)
        clock.advance(1)
    jobs = [(await claim(backend)).job for _ in range(5)]
    assert jobs == ["a1", "b1", "a2", "b2", "a3"]


async def test_a_tenant_that_comes_late_is_next(backend, clock):
    for number in range(4):
        await start(backend, f"a{number}")
        clock.advance(1)
    assert [(await claim(backend)).job for _ in range(2)] == ["a0", "a1"]
    await start(backend, "b0", OTHER)
    assert (await claim(backend)).job == "b0"


async def test_a_lease_holds_to_its_very_end_and_not_beyond(backend, clock):
    first = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS)
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None
    clock.advance(MILLISECOND)
    second = await claim(backend, "w2")
    assert (second.job, second.token, second.attempt) == (J1, first.token + 1, 2)


async def test_a_renewal_counts_from_when_it_was_made(backend, clock):
    lease = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS - 1)
    await backend.export_leases.heartbeat(lease)
    clock.advance(LEASE_SECONDS)
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None
    clock.advance(MILLISECOND)
    assert (await claim(backend, "w2")).token == 2


async def test_a_late_renewal_counts_if_nobody_claimed(backend, clock):
    lease = await start_and_claim(backend, "j1")
    clock.advance(10 * LEASE_SECONDS)
    await backend.export_leases.heartbeat(lease)
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None


async def test_a_renewal_after_another_claim_is_refused(backend, clock):
    lost = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS + 1)
    held = await claim(backend, "w2")
    with pytest.raises(LeaseLost):
        await backend.export_leases.heartbeat(lost)
    with pytest.raises(LeaseLost):
        await backend.export_leases.check(lost)
    await backend.export_leases.heartbeat(held)


async def test_a_worker_that_claims_its_own_lost_job_gets_a_new_token(backend, clock):
    old = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS + 1)
    new = await claim(backend, "w1")
    assert new.token > old.token
    with pytest.raises(LeaseLost):
        await backend.export_leases.heartbeat(old)
    await backend.export_leases.heartbeat(new)


async def test_a_renewal_by_a_name_that_is_not_the_holders_is_refused(backend):
    lease = await start_and_claim(backend, "j1")
    forged = Lease(job=J1, tenant=ACME, worker=W2, token=lease.token, attempt=1, seconds=60)
    with pytest.raises(LeaseLost):
        await backend.export_leases.heartbeat(forged)


async def test_the_wall_clock_has_no_say_in_leases(backend, clock):
    lease = await start_and_claim(backend, "j1")
    for step_ms in (10 * 3_600_000, -20 * 3_600_000):
        clock.step_wall(step_ms)
        assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None
        await backend.export_leases.heartbeat(lease)


async def test_a_reboot_ends_every_lease(backend, clock):
    lease = await start_and_claim(backend, "j1")
    clock.reboot()
    assert (await claim(backend, "w2")).token == lease.token + 1


async def test_check_says_what_a_renewal_would_and_renews_nothing(backend, clock):
    lease = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS)
    await backend.export_leases.check(lease)
    clock.advance(MILLISECOND)
    await claim(backend, "w2")
    with pytest.raises(LeaseLost):
        await backend.export_leases.check(lease)


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_the_holder_of_a_cancelled_or_deleted_job_is_told_so(backend, end):
    lease = await start_and_claim(backend, "j1")
    await getattr(backend.export_jobs, end)(ACME, J1)
    with pytest.raises(JobCancelled):
        await backend.export_leases.heartbeat(lease)
    with pytest.raises(JobCancelled):
        await backend.export_leases.check(lease)


async def test_a_job_that_is_forgotten_counts_as_cancelled(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_jobs.delete(ACME, J1)
    await backend.export_leases.release(lease)
    await backend.export_upkeep.purged(J1)
    with pytest.raises(JobCancelled):
        await backend.export_leases.heartbeat(lease)


async def test_an_ended_job_has_no_lease_to_renew(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_work.finish(lease, retention_s=60)
    with pytest.raises(LeaseLost) as refused:
        await backend.export_leases.heartbeat(lease)
    assert not isinstance(refused.value, JobCancelled)


async def test_a_released_job_is_claimable_at_once_and_keeps_its_attempt(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_leases.release(lease)
    job = await backend.export_jobs.get(ACME, J1)
    assert (job.status, job.attempt) == (ExportStatus.IN_PROGRESS, 0)
    again = await claim(backend, "w2")
    assert (again.token, again.attempt) == (2, 1)


async def test_a_released_lease_is_lost(backend):
    lease = await start_and_claim(backend, "j1")
    await backend.export_leases.release(lease)
    with pytest.raises(LeaseLost):
        await backend.export_leases.heartbeat(lease)
    with pytest.raises(LeaseLost):
        await backend.export_work.record_part(lease, output_part(0, lease))


async def test_a_job_released_with_a_delay_waits_and_says_why(backend, clock):
    lease = await start_and_claim(backend, "j1")
    await backend.export_leases.release(lease, delay_s=5, reason="the disk is full")
    assert (await backend.export_jobs.get(ACME, J1)).reason == "the disk is full"
    clock.advance(5 - MILLISECOND)
    assert await backend.export_leases.claim(W2, LEASE_SECONDS) is None
    clock.advance(MILLISECOND)
    await claim(backend, "w2")
    assert (await backend.export_jobs.get(ACME, J1)).reason == ""


async def test_a_delay_holds_back_its_own_job_only(backend, clock):
    lease = await start_and_claim(backend, "j1")
    await backend.export_leases.release(lease, delay_s=5)
    await start(backend, "j2")
    assert (await claim(backend, "w2")).job == "j2"


async def test_release_of_a_lost_lease_does_nothing(backend, clock):
    lost = await start_and_claim(backend, "j1")
    clock.advance(LEASE_SECONDS + 1)
    held = await claim(backend, "w2")
    await backend.export_leases.release(lost, delay_s=60, reason="late")
    await backend.export_leases.heartbeat(held)
    job = await backend.export_jobs.get(ACME, J1)
    assert (job.attempt, job.token, job.reason) == (2, held.token, "")


async def test_release_of_an_ended_job_leaves_its_status(backend):
    cancelled = await start_and_claim(backend, "j1")
    await backend.export_jobs.cancel(ACME, J1)
    await backend.export_leases.release(cancelled, reason="late")
    job = await backend.export_jobs.get(ACME, J1)
    assert (job.status, job.attempt, job.reason) == (ExportStatus.CANCELLED, 1, "")


async def test_attempts_count_claims_that_ended_without_release(backend, clock):
    await start(backend, "j1")
    attempts = []
    for _ in range(3):
        attempts.append((await claim(backend)).attempt)
        clock.advance(LEASE_SECONDS + 1)
    assert attempts == [1, 2, 3]


async def test_a_dead_worker_loses_its_leases_at_once(site):
    async with site.backend("w2") as survivor:
        async with site.backend("w1") as dying:
            lost = await start_and_claim(dying, "j1")
            assert await survivor.export_leases.claim(W2, LEASE_SECONDS) is None
        held = await claim(survivor, "w2")
        assert (held.token, held.attempt) == (lost.token + 1, 2)


async def test_a_live_worker_keeps_its_leases_when_another_dies(site):
    async with site.backend("w1") as holder:
        lease = await start_and_claim(holder, "j1")
        async with site.backend("w2"):
            pass
        async with site.backend("w3") as third:
            assert await third.export_leases.claim(WorkerId("w3"), LEASE_SECONDS) is None
        await holder.export_leases.heartbeat(lease)


async def test_claims_at_once_never_give_one_job_twice(site, scheduler_seed):
    async with site.backend("w1") as one, site.backend("w2") as two:
        for number in range(6):
            await start(one, f"j{number}", ACME if number % 2 else OTHER)
        claimed = []

        async def claim_all(backend, worker: WorkerId) -> None:
            while lease := await backend.export_leases.claim(worker, LEASE_SECONDS):
                claimed.append(lease.job)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim_all, one, WorkerId("w1"))
            nursery.start_soon(claim_all, two, W2)
    assert sorted(claimed) == [f"j{number}" for number in range(6)]


async def test_waiting_from_the_beginning_returns_at_once(backend):
    assert await backend.export_leases.wait_changed(0) > 0


@pytest.mark.parametrize("change", ["start", "cancel", "delete", "release"])
async def test_a_change_wakes_who_waits(backend, change, scheduler_seed):
    lease = await start_and_claim(backend, "j1")
    seen = await backend.export_leases.wait_changed(0)
    marks = []

    async def wait() -> None:
        marks.append(await backend.export_leases.wait_changed(seen))

    with trio.fail_after(WAKE_SECONDS_MAX):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            if change == "start":
                await start(backend, "j2")
            elif change == "release":
                await backend.export_leases.release(lease)
            else:
                await getattr(backend.export_jobs, change)(ACME, J1)
    assert marks[0] > seen


async def test_a_change_by_another_worker_wakes_who_waits(site):
    async with site.backend("w1") as one, site.backend("w2") as two:
        await one.tenants.ensure(ACME)
        seen = await one.export_leases.wait_changed(0)
        with trio.fail_after(WAKE_SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.export_leases.wait_changed, seen)
                await start(two, "j1")
    assert seen > 0
