"""Leases on SQLite: two openers of one directory, reboots, and renewals that wait for nobody."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

import backends
from backends.sqlite.backend import SqliteBackend
from backends.sqlite.control import Session
from engine.errors import LeaseLost
from engine.model import Lease, WorkerId
from tests.support.clocks import StoreClockByHand
from tests.support.exports import ACME, OTHER, claim, start, start_and_claim

JOBS = 200


@asynccontextmanager
async def opened(
    folder: Path, worker: str = "w1", *, clock: StoreClockByHand | None = None, inline: bool = False
) -> AsyncIterator[SqliteBackend]:
    url = f"sqlite:{folder}"
    async with backends.open(url, worker=WorkerId(worker), clock=clock, inline=inline) as backend:
        assert isinstance(backend, SqliteBackend)
        yield backend


@asynccontextmanager
async def busy(session: Session, *, writing: bool) -> AsyncIterator[None]:
    """Keep a connection in a transaction for as long as the block runs."""
    begun, over = threading.Event(), threading.Event()

    def occupy(connection: apsw.Connection) -> None:
        connection.execute("SELECT count(*) FROM export_job").fetchall()
        begun.set()
        over.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.write if writing else session.read, occupy)
        await trio.to_thread.run_sync(begun.wait)
        try:
            yield
        finally:
            over.set()


async def test_two_openers_never_claim_the_same_job_under_the_same_token(tmp_path: Path) -> None:
    claimed: list[tuple[str, int]] = []

    async def claim_all(backend: SqliteBackend) -> None:
        worker = backend.control.worker
        while lease := await backend.export_leases.claim(worker, 60):
            claimed.append((lease.job, lease.token))
            if lease.token == 1:  # every job is claimed twice
                await backend.export_leases.release(lease)

    async with opened(tmp_path, "w1") as first, opened(tmp_path, "w2") as second:
        for number in range(JOBS):
            await start(first, f"j{number}", (ACME, OTHER)[number % 2], open_max=JOBS)
        async with trio.open_nursery() as nursery:
            for backend in (first, second, first, second):
                nursery.start_soon(claim_all, backend)
    assert len(claimed) == len(set(claimed)) == 2 * JOBS


async def test_reboot_ends_every_lease_and_every_delay(tmp_path: Path) -> None:
    clock = StoreClockByHand()
    async with opened(tmp_path, clock=clock) as backend:
        held, parked = await start_and_claim(backend, "j1"), await start_and_claim(backend, "j2")
        await backend.export_leases.release(parked, delay_s=1e6)
        assert await backend.export_leases.claim(WorkerId("w1"), 60) is None
        clock.reboot()
        again = {(await claim(backend)).job, (await claim(backend)).job}
        assert again == {held.job, parked.job}
        with pytest.raises(LeaseLost):
            await backend.export_leases.heartbeat(held)


async def test_wall_clock_that_steps_neither_ends_a_lease_nor_stretches_a_delay(
    tmp_path: Path,
) -> None:
    clock = StoreClockByHand()
    async with opened(tmp_path, clock=clock) as backend:
        lease = await start_and_claim(backend)
        clock.step_wall(10**10)
        assert await backend.export_leases.claim(WorkerId("w2"), 60) is None
        await backend.export_leases.release(lease, delay_s=5)
        clock.step_wall(-(10**11))
        clock.advance(5)
        assert (await claim(backend)).attempt == 1


@pytest.mark.parametrize("writing", [False, True])
async def test_renewal_goes_on_while_other_connections_are_busy(
    tmp_path: Path, writing: bool
) -> None:
    clock = StoreClockByHand()
    async with opened(tmp_path, clock=clock) as backend:
        lease = await start_and_claim(backend)
        clock.advance(lease.seconds + 1)  # late, and nobody has claimed: it counts
        # A long read, and work that waits for the writing connection behind another call.
        async with (
            busy(backend.control.reads, writing=False),
            busy(backend.control.writes, writing=False),
        ):
            with trio.fail_after(5):
                await backend.export_leases.heartbeat(lease)
        assert await backend.export_leases.claim(WorkerId("w2"), 60) is None


async def test_renewal_outwaits_a_transaction_that_holds_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as backend:
        lease = await start_and_claim(backend)
        async with trio.open_nursery() as nursery, busy(backend.control.writes, writing=True):
            nursery.start_soon(backend.export_leases.heartbeat, lease)
            await trio.testing.wait_all_tasks_blocked()
        await backend.export_leases.check(lease)


async def test_waiter_wakes_for_a_change_of_its_own_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as backend:
        seen = await backend.export_leases.wait_changed(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.export_leases.wait_changed, seen)
            await start(backend)
        assert await backend.export_leases.wait_changed(seen) > seen


async def test_waiter_wakes_for_a_change_of_another_process(tmp_path: Path) -> None:
    async with opened(tmp_path, "w1") as first, opened(tmp_path, "w2") as second:
        await start(first)
        lease = await claim(second, "w2")
        seen = await second.export_leases.wait_changed(0)
        with trio.fail_after(1):  # a cancel reaches a worker within a second
            await first.export_jobs.cancel(ACME, lease.job)
            while True:
                seen = await second.export_leases.wait_changed(seen)
                try:
                    await second.export_leases.check(lease)
                except LeaseLost:
                    break


async def test_waiter_sleeps_on_while_nothing_changes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with opened(tmp_path, "w1", inline=True) as first:
        seen = await first.export_leases.wait_changed(0)
        with trio.move_on_after(1):  # the first look finds what was before it
            seen = await first.export_leases.wait_changed(seen)
        async with opened(tmp_path, "w2", inline=True) as second:
            with trio.move_on_after(1):
                seen = await first.export_leases.wait_changed(seen)
            # A claim that finds nothing must not wake those who found nothing before.
            assert await second.export_leases.claim(WorkerId("w2"), 60) is None
            with trio.move_on_after(60) as asleep:
                await first.export_leases.wait_changed(seen)
        assert asleep.cancelled_caught


async def test_claim_that_is_cancelled_while_it_waits_takes_no_job(tmp_path: Path) -> None:
    async with opened(tmp_path) as backend:
        job = await start(backend)
        async with busy(backend.control.writes, writing=False):
            with trio.move_on_after(0):
                await backend.export_leases.claim(WorkerId("w1"), 60)
        assert (await backend.export_jobs.get(ACME, job.id)).token == 0


async def test_claim_that_is_cancelled_while_it_runs_still_gives_its_lease(tmp_path: Path) -> None:
    given: list[Lease | None] = []
    async with opened(tmp_path) as backend:
        await start(backend)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def claim_and_be_cancelled() -> None:
                    given.append(await backend.export_leases.claim(WorkerId("w1"), 60))

                async with busy(backend.control.renewals, writing=True):
                    nursery.start_soon(claim_and_be_cancelled)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        assert given[0] is not None and given[0].token == 1
        await backend.export_leases.check(given[0])
