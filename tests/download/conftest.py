"""The download tests' server, once with plain and once with compressed files at rest."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

from backends.files import open_files
from backends.memory import MemoryWorld, open_memory
from engine.limits import EngineLimits
from tests.download.site import GRACE_SECONDS, WORKER, Site
from tests.support.clocks import VirtualClock
from tests.support.entropy import SeededEntropy
from web.app import PenstockApp, create_app
from web.server import serve
from web.services import Services
from web.settings import Settings


@pytest.fixture(params=["", "gzip"], ids=["plain", "gzip"])
def coding(request: pytest.FixtureRequest) -> str:
    """Of the files at rest. A test that needs one of them asks for it by parametrize."""
    return request.param


@pytest.fixture
async def site(coding: str, tmp_path: Path) -> AsyncIterator[Site]:
    clock, entropy = VirtualClock(), SeededEntropy()
    world = MemoryWorld(clock=clock, new_key=lambda: entropy.token(64), new_id=entropy.token)
    shutdown, stopped = trio.Event(), trio.Event()
    async with (
        open_memory(world, worker=WORKER) as backend,
        open_files(tmp_path / "output", coding=coding, free_bytes_min=0) as outputs,
        httpx.AsyncClient(verify=False, trust_env=False) as client,
    ):
        ports = backend.ports(outputs, clock=clock, entropy=entropy)
        services = Services(
            ports=ports,
            limits=EngineLimits(),
            settings=Settings(),
            tell=lambda _: None,
            ready=lambda: True,
        )
        app = create_app(services)
        async with trio.open_nursery() as nursery:
            (address,) = await nursery.start(_serve, app, shutdown, stopped)
            site = Site(
                base=f"{address}/fhir",
                root=tmp_path / "output",
                client=client,
                outputs=outputs,
                backend=backend,
                clock=clock,
                shutdown=shutdown,
                stopped=stopped,
            )
            yield site
            await site.stop()
        assert outputs.statistics().open_readers == 0


async def _serve(
    app: PenstockApp,
    shutdown: trio.Event,
    stopped: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    await serve(
        app,
        ["127.0.0.1:0"],
        shutdown=shutdown,
        grace_seconds=GRACE_SECONDS,
        task_status=task_status,
    )
    stopped.set()
