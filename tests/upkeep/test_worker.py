"""StoreWorker and Reindexer on virtual time: works end, go on, stop, and are asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from backends.sqlite import prune, reindex
from backends.sqlite.tenant_store import SqliteTenantStore
from engine.errors import StoreUnavailable
from engine.limits import EngineLimits
from engine.messages import Drain
from engine.model import ExportStatus, JobId, Reindexed, WorkerId
from engine.ports import Ports, TenantStore
from engine.supervisor import Supervisor
from engine.upkeep.ports import Pruning, Reindex, Standing, StoreWork
from engine.upkeep.reindex import Reindexer
from engine.upkeep.works import StoreWorker
from tests.support.ports import W1
from tests.upkeep.conftest import ACME, index_of, resource
from web.cli.working import carry_out

LIMITS = EngineLimits()
VERSIONS = 40
SECONDS_MAX = 3600.0  # of virtual time

SHOE = {
    "resourceType": "SearchParameter",
    "id": "shoe",
    "url": "urn:shoe",
    "name": "Shoe",
    "status": "active",
    "description": "x",
    "code": "shoe-size",
    "base": ["Patient"],
    "type": "string",
    "expression": "Patient.extension('urn:shoe').value",
}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "STEP_ROWS_MAX", 3)
    monkeypatch.setattr(prune, "STEP_VERSIONS_MAX", 3)
    monkeypatch.setattr(prune, "STEP_IDS_MAX", 3)


@pytest.fixture
async def filled(store: TenantStore) -> TenantStore:
    """Ten patients, each in four versions."""
    for number in range(VERSIONS):
        size = {"url": "urn:shoe", "valueString": f"size {number}"}
        body = {"resourceType": "Patient", "id": f"p{number % 10}", "extension": [size]}
        await store.update(resource(msgspec.json.encode(body)))
    return store


async def ended(ports: Ports, work: StoreWork) -> StoreWork:
    found = work
    with trio.fail_after(SECONDS_MAX):
        seen = 0
        while not found.status.ended:
            seen = await ports.work_leases.wait_changed(seen)
            found = await find(ports, work.id)
    return found


async def find(ports: Ports, work: JobId) -> StoreWork:
    found = await ports.store_works.find(ACME, work)
    assert found is not None
    return found


async def carried_out(ports: Ports, work: StoreWork, limits: EngineLimits = LIMITS) -> StoreWork:
    """What becomes of a work when a worker runs."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StoreWorker(ports, W1, limits).run)
        found = await ended(ports, work)
        nursery.cancel_scope.cancel()
    return found


def before_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], Any]) -> list[int]:
    """Call `act` with the number of each step of a reindex before it; how many there were."""
    step, steps = SqliteTenantStore.step_reindex, [0]

    async def stepped(self: SqliteTenantStore, job: JobId, token: int) -> Reindexed:
        steps[0] += 1
        done = act(steps[0])
        if done is not None:
            await done
        return await step(self, job, token)

    monkeypatch.setattr(SqliteTenantStore, "step_reindex", stepped)
    return steps


async def test_a_rebuild_is_carried_out_and_says_what_it_did(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore, path: Path
):
    before = index_of(path)
    work = await carried_out(ports, await ports.store_works.ask(ACME, Reindex(rebuild=True)))
    assert work.status is ExportStatus.COMPLETE
    assert (work.standing.looked, work.standing.changed) == (VERSIONS, 10)
    assert index_of(path) == before


async def test_a_pruning_is_carried_out_and_says_what_it_did(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore
):
    task = Pruning(older_than_ms=1 << 50, keep=2)
    work = await carried_out(ports, await ports.store_works.ask(ACME, task))
    assert work.status is ExportStatus.COMPLETE
    assert work.standing.changed == 20
    assert (await filled.history(limit=0)).total == 20


async def test_a_stopped_rebuild_is_free_at_once_and_goes_on_where_it_was(
    autojump_clock: MockClock,
    ports: Ports,
    filled: TenantStore,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    before = index_of(path)
    work = await ports.store_works.ask(ACME, Reindex(rebuild=True))
    async with trio.open_nursery() as nursery:

        def stop(step: int) -> None:
            if step == 5:
                nursery.cancel_scope.cancel()

        steps = before_step(monkeypatch, stop)
        nursery.start_soon(StoreWorker(ports, W1, LIMITS).run)
    stopped = await find(ports, work.id)
    assert (stopped.status, stopped.worker) == (ExportStatus.IN_PROGRESS, None)
    assert 4 * 3 <= stopped.standing.looked <= 5 * 3
    assert not await filled.indexed()
    done = await carried_out(ports, work)
    assert done.standing.changed == 10
    assert steps[0] <= 2 + -(-VERSIONS // 3)  # the end, and perhaps the step that was cancelled
    assert index_of(path) == before


async def test_a_cancelled_work_stops_at_its_next_step(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore, monkeypatch: pytest.MonkeyPatch
):
    work = await ports.store_works.ask(ACME, Reindex(rebuild=True))

    async def cancel() -> None:
        await ports.store_works.cancel(ACME, work.id)
        await trio.testing.wait_all_tasks_blocked()

    steps = before_step(monkeypatch, lambda step: cancel() if step == 2 else None)
    found = await carried_out(ports, work)
    assert found.status is ExportStatus.CANCELLED
    await carried_out(ports, await ports.store_works.ask(ACME, Pruning(older_than_ms=0, keep=1)))
    assert steps[0] == 2
    assert not await filled.indexed()


async def test_a_worker_that_lost_the_lease_leaves_the_work_to_its_heir(
    autojump_clock: MockClock,
    ports: Ports,
    filled: TenantStore,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    before = index_of(path)
    work = await ports.store_works.ask(ACME, Reindex(rebuild=True))
    late = await ports.work_leases.claim(WorkerId("late"), LIMITS.lease_seconds)
    assert late is not None
    await filled.begin_reindex(JobId("reindex"), late.token, rebuild=True)
    await trio.sleep(LIMITS.lease_seconds + 1)
    done = await carried_out(ports, work)
    assert done.status is ExportStatus.COMPLETE
    for late_step in (
        lambda: filled.begin_reindex(JobId("reindex"), late.token, rebuild=True),
        lambda: filled.step_reindex(JobId("reindex"), late.token),
    ):
        with pytest.raises(Exception, match="another worker"):
            await late_step()
    assert await filled.indexed()
    assert index_of(path) == before


async def test_trouble_of_the_store_is_waited_for(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore, monkeypatch: pytest.MonkeyPatch
):
    work = await ports.store_works.ask(ACME, Reindex(rebuild=True))
    reasons = []

    async def fail(step: int) -> None:
        reasons.append((await find(ports, work.id)).reason)
        if step in (2, 3, 4):
            raise StoreUnavailable("the disk is full")

    before_step(monkeypatch, fail)
    began = trio.current_time()
    found = await carried_out(ports, work)
    assert found.status is ExportStatus.COMPLETE
    assert found.standing.changed == 10
    assert trio.current_time() - began > 3 * LIMITS.backoff_seconds / 2


@pytest.mark.parametrize("many", [False, True])
async def test_what_cannot_work_ends_and_says_why(
    autojump_clock: MockClock,
    ports: Ports,
    filled: TenantStore,
    monkeypatch: pytest.MonkeyPatch,
    many: bool,
):
    work = await ports.store_works.ask(ACME, Reindex())
    if many:  # workers that died
        for _ in range(LIMITS.attempts_max):
            await ports.work_leases.claim(WorkerId("w9"), 1)
            await trio.sleep(2)
    else:

        def fail(step: int) -> None:
            raise ValueError("a defect")

        before_step(monkeypatch, fail)
    found = await carried_out(ports, work)
    assert found.status is ExportStatus.ERROR
    assert found.issue is not None
    assert ("5 attempts" if many else "internal error") in found.issue.diagnostics


async def test_a_new_parameter_is_indexed_by_a_server_of_its_own_accord(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore
):
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(ports, W1, LIMITS)
        await nursery.start(supervisor.run)
        await trio.sleep(1)
        await filled.update(resource(msgspec.json.encode(SHOE)))
        assert not await filled.indexed()
        await trio.sleep(2 * LIMITS.upkeep_seconds)
        assert await filled.indexed()
        supervisor.tell(Drain())


async def test_where_nothing_is_lacking_nothing_is_asked_for(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore
):
    await Reindexer(ports, LIMITS).round()
    assert await ports.work_leases.claim(W1, LIMITS.lease_seconds) is None
    await filled.update(resource(msgspec.json.encode(SHOE)))
    await Reindexer(ports, LIMITS).round()
    await Reindexer(ports, LIMITS).round()
    assert await ports.work_leases.claim(W1, LIMITS.lease_seconds) is not None
    assert await ports.work_leases.claim(W1, LIMITS.lease_seconds) is None


@pytest.mark.parametrize("cancel", [False, True])
async def test_a_command_that_is_stopped_ends_its_pruning_and_leaves_its_reindex(
    autojump_clock: MockClock,
    ports: Ports,
    filled: TenantStore,
    monkeypatch: pytest.MonkeyPatch,
    cancel: bool,
):
    task = Pruning(older_than_ms=1 << 50, keep=1) if cancel else Reindex(rebuild=True)
    name = "prune" if cancel else "step_reindex"
    step, steps = getattr(SqliteTenantStore, name), []
    with trio.CancelScope() as command:

        async def stepped(self: SqliteTenantStore, *args: Any, **options: Any) -> Any:
            steps.append(name)
            if len(steps) == 3:
                command.cancel()
            return await step(self, *args, **options)

        monkeypatch.setattr(SqliteTenantStore, name, stepped)
        shown: list[Standing] = []
        await carry_out(ports, W1, LIMITS, ACME, task, shown.append, cancel=cancel)
    assert command.cancelled_caught
    assert shown
    found = await ports.store_works.ask(ACME, task)
    assert (found.status is ExportStatus.ACCEPTED) == cancel  # a new one, or the one that was left
    assert (await filled.history(limit=0)).total > 10


async def test_a_command_does_the_open_work_first_and_then_its_own(
    autojump_clock: MockClock, ports: Ports, filled: TenantStore
):
    await ports.store_works.ask(ACME, Pruning(older_than_ms=1 << 50, keep=3))
    task = Pruning(older_than_ms=1 << 50, keep=1)
    done = await carry_out(ports, W1, LIMITS, ACME, task, lambda _: None, cancel=True)
    assert done.task == task
    assert done.standing.changed == 20  # of 30; the others went before
    assert (await filled.history(limit=0)).total == 10
