"""The application on the memory backend: in process, with every command it sent.

A test in which time passes asks for `autojump_clock` itself: only there it takes effect.
"""

from collections.abc import AsyncIterator

import pytest

from backends.memory import MemoryWorld, open_memory
from engine.limits import EngineLimits
from engine.messages import Command
from tests.support.clocks import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.web.site import BASE, TENANTS, WORKER, Site
from web.app import create_app
from web.services import Services
from web.settings import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings(
        base_url=BASE, resource_bytes_max=2000, request_bytes_max=4000, validation="off"
    )


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    clock, entropy = VirtualClock(), SeededEntropy()
    world = MemoryWorld(clock=clock, new_key=lambda: entropy.token(64), new_id=entropy.token)
    async with open_memory(world, worker=WORKER) as backend:
        for tenant in TENANTS:
            await backend.tenants.ensure(tenant)
        ports = backend.ports(backend.outputs, clock=clock, entropy=entropy)
        commands: list[Command] = []
        flags = {"ready": True}
        services = Services(
            ports=ports,
            limits=EngineLimits(open_jobs_max=3),
            settings=settings,
            tell=commands.append,
            ready=lambda: flags["ready"],
        )
        yield Site(services, create_app(services), clock, commands, flags)
