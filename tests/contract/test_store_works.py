"""StoreWorks and their leases: one open work of a kind, fenced, taken up where it was."""

import pytest

from backends import Backend
from engine.errors import JobCancelled, LeaseLost, NotFound
from engine.model import ExportStatus, Issue, JobId, Lease, WorkerId
from engine.tenant import TenantId
from engine.upkeep.ports import Pruning, Reindex, Standing, StoreWork
from tests.contract.conftest import Site
from tests.support.clocks import StoreClockByHand
from tests.support.exports import ACME, LEASE_SECONDS, OTHER, start_and_claim

W1, W2 = WorkerId("w1"), WorkerId("w2")
PRUNING = Pruning(older_than_ms=1000, keep=2)
HALF = Standing(begun=True, looked=5, changed=3, cursor=("Patient", "p5"))
WHOLE = Standing(begun=True, looked=9, changed=4)


async def claim(backend: Backend, worker: WorkerId = W1) -> Lease:
    lease = await backend.work_leases.claim(worker, LEASE_SECONDS)
    assert lease is not None
    return lease


async def find(backend: Backend, work: JobId, tenant: TenantId = ACME) -> StoreWork:
    found = await backend.store_works.find(tenant, work)
    assert found is not None
    return found


async def test_a_work_is_shown_as_it_was_asked_for(backend: Backend, clock: StoreClockByHand):
    work = await backend.store_works.ask(ACME, PRUNING)
    assert work == await find(backend, work.id)
    assert work == StoreWork(
        id=work.id,
        tenant=ACME,
        task=PRUNING,
        status=ExportStatus.ACCEPTED,
        created_ms=clock.now_ms(),
    )
    assert await backend.store_works.find(OTHER, work.id) is None


async def test_of_a_kind_only_one_is_open_for_a_tenant(backend: Backend):
    first = await backend.store_works.ask(ACME, Reindex())
    assert await backend.store_works.ask(ACME, Reindex(rebuild=True)) == first
    ids = {
        (await backend.store_works.ask(ACME, PRUNING)).id,
        (await backend.store_works.ask(OTHER, Reindex())).id,
        first.id,
    }
    assert len(ids) == 3


async def test_a_tenant_that_is_not_there_has_no_work(backend: Backend):
    with pytest.raises(NotFound):
        await backend.store_works.ask(TenantId("nobody"), Reindex())


async def test_works_and_exports_are_claimed_apart(backend: Backend):
    work = await backend.store_works.ask(ACME, Reindex())
    assert await backend.export_leases.claim(W1, LEASE_SECONDS) is None
    lease = await claim(backend)
    assert (lease.job, lease.tenant, lease.attempt) == (work.id, ACME, 1)
    await start_and_claim(backend, "j1")
    assert await backend.work_leases.claim(W1, LEASE_SECONDS) is None


async def test_how_far_it_is_outlives_its_worker(backend: Backend):
    work = await backend.store_works.ask(ACME, PRUNING)
    lease = await claim(backend)
    await backend.store_works.save(lease, HALF)
    shown = await find(backend, work.id)
    assert (shown.standing, shown.worker, shown.status) == (HALF, W1, ExportStatus.IN_PROGRESS)
    await backend.work_leases.release(lease, reason="shutdown")
    shown = await find(backend, work.id)
    assert (shown.standing, shown.worker, shown.reason) == (HALF, None, "shutdown")
    again = await claim(backend, W2)
    assert (again.job, again.token) == (work.id, lease.token + 1)


async def test_who_lost_the_lease_changes_nothing(backend: Backend, clock: StoreClockByHand):
    work = await backend.store_works.ask(ACME, PRUNING)
    late = await claim(backend, W1)
    clock.advance(LEASE_SECONDS + 1)
    held = await claim(backend, W2)
    await backend.store_works.save(held, HALF)
    for act in (
        lambda: backend.store_works.save(late, WHOLE),
        lambda: backend.store_works.end(late, WHOLE),
        lambda: backend.work_leases.heartbeat(late),
        lambda: backend.work_leases.check(late),
    ):
        with pytest.raises(LeaseLost):
            await act()
    shown = await find(backend, work.id)
    assert (shown.standing, shown.worker, shown.status) == (HALF, W2, ExportStatus.IN_PROGRESS)


async def test_a_lease_that_is_renewed_is_not_given_to_another(
    backend: Backend, clock: StoreClockByHand
):
    await backend.store_works.ask(ACME, Reindex())
    lease = await claim(backend)
    for renew in (
        lambda: backend.work_leases.heartbeat(lease),
        lambda: backend.store_works.save(lease, HALF),
    ):
        clock.advance(LEASE_SECONDS - 1)
        await renew()
        clock.advance(LEASE_SECONDS - 1)
        assert await backend.work_leases.claim(W2, LEASE_SECONDS) is None


async def test_the_works_of_a_dead_worker_are_free_at_once(site: Site):
    async with site.backend("w2") as backend:
        await backend.tenants.ensure(ACME)
        work = await backend.store_works.ask(ACME, Reindex())
        async with site.backend("w1") as dying:
            lease = await claim(dying, W1)
            assert await backend.work_leases.claim(W2, LEASE_SECONDS) is None
        again = await claim(backend, W2)
        assert (again.job, again.token) == (work.id, lease.token + 1)


async def test_a_dead_workers_work_is_free_also_once_all_trace_of_it_is_removed(site: Site):
    async with site.backend("w1") as dying:
        await dying.tenants.ensure(ACME)
        work = await dying.store_works.ask(ACME, Reindex())
        await claim(dying, W1)
    async with site.backend("w2") as backend:  # clears up after the dead
        assert (await claim(backend, W2)).job == work.id


@pytest.mark.parametrize(
    "issue", [None, Issue(severity="fatal", code="exception", diagnostics="x")]
)
async def test_an_ended_work_makes_room_for_the_next_and_tokens_grow_on(
    backend: Backend, issue: Issue | None, clock: StoreClockByHand
):
    first = await backend.store_works.ask(ACME, PRUNING)
    lease = await claim(backend)
    await backend.store_works.end(lease, WHOLE, issue=issue)
    shown = await find(backend, first.id)
    assert shown.status is (ExportStatus.ERROR if issue else ExportStatus.COMPLETE)
    assert (shown.standing, shown.issue, shown.worker) == (WHOLE, issue, None)
    assert shown.finished_ms == clock.now_ms()
    assert await backend.work_leases.claim(W1, LEASE_SECONDS) is None
    second = await backend.store_works.ask(ACME, PRUNING)
    assert second.id != first.id
    assert second.standing == Standing()
    assert (await claim(backend)).token > lease.token


async def test_a_cancelled_work_stops_its_worker_and_makes_room(backend: Backend):
    work = await backend.store_works.ask(ACME, PRUNING)
    lease = await claim(backend)
    await backend.store_works.cancel(OTHER, work.id)
    await backend.work_leases.check(lease)
    await backend.store_works.cancel(ACME, work.id)
    for act in (
        lambda: backend.work_leases.check(lease),
        lambda: backend.store_works.save(lease, HALF),
        lambda: backend.store_works.end(lease, WHOLE),
    ):
        with pytest.raises(JobCancelled):
            await act()
    assert (await find(backend, work.id)).status is ExportStatus.CANCELLED
    await backend.work_leases.release(lease)
    assert (await backend.store_works.ask(ACME, PRUNING)).id != work.id


async def test_cancelling_what_has_ended_changes_nothing(backend: Backend):
    work = await backend.store_works.ask(ACME, PRUNING)
    await backend.store_works.end(await claim(backend), WHOLE)
    before = await find(backend, work.id)
    await backend.store_works.cancel(ACME, work.id)
    assert await find(backend, work.id) == before


async def test_counting_what_would_be_pruned_removes_nothing(backend: Backend):
    store = await backend.tenants.store(ACME)
    step = await store.prune(older_than_ms=1 << 50, keep=1, dry_run=True)
    assert (step.removed, step.looked, step.cursor) == (0, 0, None)
