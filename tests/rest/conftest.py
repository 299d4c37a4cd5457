"""A FHIR server on each backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.clock import SystemStoreClock
from engine.clock import SystemClock
from tests.rest.server import TENANTS, FhirServer
from tests.support.ports import memory_ports, sqlite_ports


@pytest.fixture(params=["memory", "sqlite"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FhirServer]:
    if request.param == "memory":
        opened = memory_ports()
    else:
        opened = sqlite_ports(tmp_path, store_clock=SystemStoreClock(), clock=SystemClock())
    async with opened as ports:
        for tenant in TENANTS:
            await ports.tenants.ensure(tenant)
        yield FhirServer.of(ports)
