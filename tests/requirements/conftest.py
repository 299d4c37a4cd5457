"""The program on the memory backend, and on SQLite with real files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.clock import SystemStoreClock
from engine.clock import SystemClock
from engine.limits import EngineLimits
from tests.requirements.exchange import Exchange, exchange
from tests.support.ports import memory_ports, sqlite_ports


@pytest.fixture(params=["memory", "sqlite"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Exchange]:
    if request.param == "memory":
        opened = memory_ports()
    else:
        opened = sqlite_ports(tmp_path, store_clock=SystemStoreClock(), clock=SystemClock())
    async with opened as ports, exchange(ports, limits=EngineLimits(open_jobs_max=3)) as running:
        yield running
