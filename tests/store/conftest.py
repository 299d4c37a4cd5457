"""Tenants' files in a folder of the test's own, opened in both forms of the door."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.definitions import DefinitionsMaker
from backends.door import ThreadDoor
from backends.sqlite.doors import inline_doors, thread_doors
from backends.sqlite.tenant_store import SqliteTenantStore, open_tenant_store
from tests.support.clocks import StoreClockByHand
from tests.support.words import WordsMaker


class Site:
    """One tenant's file, that several stores may have open as several processes would."""

    def __init__(self, folder: Path, *, inline: bool) -> None:
        self.path = folder / "tenant.db"
        self.clock = StoreClockByHand()
        self.maker: DefinitionsMaker = WordsMaker()
        self._inline = inline
        self._stores = 0

    @asynccontextmanager
    async def open(self, clock: StoreClockByHand | None = None) -> AsyncIterator[SqliteTenantStore]:
        """As one process would; with a clock of its own if given."""
        doors = inline_doors() if self._inline else thread_doors()
        self._stores += 1
        async with open_tenant_store(
            self.path,
            clock=clock or self.clock,
            doors=doors,
            new_id=lambda: f"store-{self._stores}",
            maker=self.maker,
        ) as store:
            yield store
        for door in (doors.read, doors.scan, doors.write, doors.upkeep):
            assert not isinstance(door, ThreadDoor) or door._limiter.borrowed_tokens == 0

    def open_files(self) -> list[str]:
        """Of the site's folder, in this process."""
        names = []
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            except FileNotFoundError:
                continue  # the listing's own
        return [name for name in names if name.startswith(str(self.path.parent))]


@pytest.fixture(params=["threads", "inline"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, inline=request.param == "inline")
    yield site
    assert site.open_files() == []


@pytest.fixture
def threaded(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, inline=False)
    yield site
    assert site.open_files() == []


@pytest.fixture
async def store(site: Site) -> AsyncIterator[SqliteTenantStore]:
    async with site.open() as store:
        yield store
