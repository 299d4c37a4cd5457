"""A COMMIT that fails does not say whether it happened: the file does."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

import backends
from backends.sqlite.backend import SqliteBackend
from backends.sqlite.control import Session
from engine.errors import StoreUnavailable
from engine.model import ExportStatus, Lease, WorkerId
from tests.support.clocks import StoreClockByHand
from tests.support.exports import ACME, LEASE_SECONDS, output_part, start, start_and_claim


@pytest.fixture
def clock() -> StoreClockByHand:
    return StoreClockByHand()


@pytest.fixture
async def backend(tmp_path: Path, clock: StoreClockByHand) -> AsyncIterator[SqliteBackend]:
    url = f"sqlite:{tmp_path}"
    async with backends.open(url, worker=WorkerId("w1"), clock=clock) as backend:
        assert isinstance(backend, SqliteBackend)
        yield backend


async def lose_answer(session: Session) -> None:
    """From now on every COMMIT happens, and reports an error."""
    await session.read(lambda connection: connection.set_wal_hook(_lose_answer))


async def fill_disk(session: Session) -> None:
    """From now on no COMMIT happens, because there is no space."""
    await session.read(lambda connection: connection.set_commit_hook(_fill_disk))


async def mend(session: Session) -> None:
    """COMMIT works again."""

    def unhook(connection: apsw.Connection) -> None:
        connection.set_wal_hook(None)
        connection.set_commit_hook(None)

    await session.read(unhook)


def _lose_answer(connection: apsw.Connection, database: str, pages: int) -> int:
    raise apsw.IOError("the answer was lost")


def _fill_disk() -> bool:
    raise apsw.FullError("no space")


async def test_commit_that_happened_without_an_answer_is_a_success(backend: SqliteBackend) -> None:
    await lose_answer(backend.control.writes)
    lease = await start_and_claim(backend)
    await backend.export_work.record_part(lease, output_part(0, lease))
    await backend.export_work.finish(lease, retention_s=60)
    await mend(backend.control.writes)
    job = await backend.export_jobs.get(ACME, lease.job)
    assert (job.status, job.progress.parts_done, job.token) == (ExportStatus.COMPLETE, 1, 1)


async def test_hook_that_loses_answers_makes_commit_fail(backend: SqliteBackend) -> None:
    """The test above would prove nothing if COMMIT reported success."""
    await lose_answer(backend.control.writes)

    def commit(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO tenant (id, key, created_ms) VALUES ('a', 'b', 0)")
        connection.execute("COMMIT")

    with pytest.raises(StoreUnavailable):
        await backend.control.writes.write(commit)
    assert [tenant.id for tenant in await backend.tenants.list()] == ["a"]


async def test_renewal_without_an_answer_is_a_renewal(
    backend: SqliteBackend, clock: StoreClockByHand
) -> None:
    lease = await start_and_claim(backend)
    clock.advance(LEASE_SECONDS)
    await lose_answer(backend.control.renewals)
    await backend.export_leases.heartbeat(lease)
    clock.advance(LEASE_SECONDS)
    assert await backend.export_leases.claim(WorkerId("w2"), 60) is None


async def record(backend: SqliteBackend, lease: Lease) -> None:
    await backend.export_work.record_part(lease, output_part(0, lease))


async def finish(backend: SqliteBackend, lease: Lease) -> None:
    await backend.export_work.finish(lease, retention_s=60)


async def release(backend: SqliteBackend, lease: Lease) -> None:
    await backend.export_leases.release(lease, reason="parked")


async def cancel(backend: SqliteBackend, lease: Lease) -> None:
    await backend.export_jobs.cancel(ACME, lease.job)


@pytest.mark.parametrize("effect", [record, finish, release, cancel])
async def test_commit_that_did_not_happen_is_an_error_and_can_be_tried_again(
    backend: SqliteBackend, effect
) -> None:
    lease = await start_and_claim(backend)
    before = await backend.export_upkeep.find(lease.job)
    await fill_disk(backend.control.writes)
    with pytest.raises(StoreUnavailable, match="no space"):
        await effect(backend, lease)
    assert await backend.export_upkeep.find(lease.job) == before
    await mend(backend.control.writes)
    await effect(backend, lease)
    assert await backend.export_upkeep.find(lease.job) != before


async def test_claim_that_did_not_happen_leaves_the_job_to_others(backend: SqliteBackend) -> None:
    job = await start(backend)
    await fill_disk(backend.control.writes)
    with pytest.raises(StoreUnavailable):
        await backend.export_leases.claim(WorkerId("w1"), 60)
    await mend(backend.control.writes)
    lease = await backend.export_leases.claim(WorkerId("w1"), 60)
    assert lease is not None and (lease.job, lease.token) == (job.id, 1)
