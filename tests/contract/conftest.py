"""Every contract test runs on the memory model and on SQLite with real files.

SQLite runs in both forms: calls in threads as in production, and inline.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import backends
from backends import Backend
from backends.memory import MemoryBackend, MemoryWorld, open_memory
from engine.model import WorkerId
from engine.ports import TenantStore
from tests.support.clocks import StoreClockByHand
from tests.support.descriptors import open_files_under
from tests.support.entropy import SeededEntropy
from tests.support.exports import ACME, OTHER

KINDS = ("memory", "sqlite-threads", "sqlite-inline")


class Site:
    """One place where state is kept, that several workers can open."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.clock = StoreClockByHand()
        self._kind = kind
        self._folder = folder
        entropy = SeededEntropy()
        self._world = MemoryWorld(
            clock=self.clock,
            new_key=lambda: entropy.token(64),
            new_id=entropy.token,
            batch_rows=lambda: round(entropy.jitter(0, 7)),
        )

    @asynccontextmanager
    async def backend(self, worker: str = "w1") -> AsyncIterator[Backend]:
        """The place as this worker has it open; after the block the worker is dead."""
        if self._kind == "memory":
            async with open_memory(self._world, worker=WorkerId(worker)) as memory:
                yield memory
            _assert_nothing_open(memory)
        else:
            inline = self._kind == "sqlite-inline"
            async with backends.open(
                f"sqlite:{self._folder}", worker=WorkerId(worker), clock=self.clock, inline=inline
            ) as sqlite:
                yield sqlite

    def open_files(self) -> list[str]:
        """Files of the place that this process has open."""
        return open_files_under(self._folder)


def _assert_nothing_open(memory: MemoryBackend) -> None:
    assert list(memory.process.open_things()) == []


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(request.param, tmp_path / "data")
    yield site
    assert site.open_files() == []


@pytest.fixture
async def backend(site: Site) -> AsyncIterator[Backend]:
    async with site.backend() as backend:
        await backend.tenants.ensure(ACME)
        await backend.tenants.ensure(OTHER)
        yield backend


@pytest.fixture
def clock(site: Site) -> StoreClockByHand:
    return site.clock


@pytest.fixture
async def store(backend: Backend) -> TenantStore:
    return await backend.tenants.store(ACME)
