"""Kick-off through the ports that tests are given: the cut and the job, on both backends."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from engine.errors import NotFound, TooMany
from engine.export.kickoff import kick_off
from engine.limits import EngineLimits
from engine.model import ExportRequest, ExportStatus
from engine.ports import Ports
from tests.support.builders import prepared
from tests.support.clocks import START_MS
from tests.support.exports import ACME, export, lines_of
from tests.support.ports import memory_ports, sqlite_ports

HOUR_SECONDS = 3600.0


@pytest.fixture(params=["memory", "sqlite"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], AbstractAsyncContextManager[Ports]]:
    if request.param == "memory":
        return memory_ports
    return lambda: sqlite_ports(tmp_path, inline=True)


async def test_a_job_is_accepted_with_a_cut_that_holds_what_was_written(opened, autojump_clock):
    async with opened() as ports:
        await ports.tenants.ensure(ACME)
        store = await ports.tenants.store(ACME)
        before = await store.create(prepared("Patient", "a"))
        job = await kick_off(ports, EngineLimits(), ACME, ExportRequest())
        await store.create(prepared("Patient", "b"))
        assert job.status is ExportStatus.ACCEPTED
        assert [pin.job for pin in await store.pins()] == [job.id]
        assert lines_of(await export(store, job.snapshot)) == {before.version.body}


async def test_a_refused_kick_off_leaves_no_job(opened, autojump_clock):
    limits = EngineLimits(open_jobs_max=1)
    async with opened() as ports:
        with pytest.raises(NotFound):
            await kick_off(ports, limits, ACME, ExportRequest())
        await ports.tenants.ensure(ACME)
        first = await kick_off(ports, limits, ACME, ExportRequest())
        with pytest.raises(TooMany):
            await kick_off(ports, limits, ACME, ExportRequest())
        assert [job.id for job in await ports.export_jobs.list(None)] == [first.id]


async def test_stores_run_on_virtual_time(opened, autojump_clock: MockClock):
    async with opened() as ports:
        await ports.tenants.ensure(ACME)
        store = await ports.tenants.store(ACME)
        await trio.sleep(HOUR_SECONDS)
        written = await store.create(prepared("Patient", "a"))
        assert written.version.updated_ms >= START_MS + HOUR_SECONDS * 1000
        assert ports.clock.now_ms() == written.version.updated_ms
