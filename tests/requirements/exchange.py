"""A client's exchange with the whole program: real sockets, the engine at work behind them."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import trio

from engine.limits import EngineLimits
from engine.model import JobId, Prepared, WorkerId
from engine.ports import Ports
from engine.supervisor import Supervisor
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.web.raw_http import Serving, serving
from web.app import create_app
from web.services import Services
from web.settings import Settings

BASE = "https://fhir.example.org/base/fhir"  # what clients see; not where the test connects to
TENANTS = (DEFAULT_TENANT, TenantId("acme"))
KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
NDJSON = "application/fhir+ndjson"
WAIT_SECONDS_MAX = 30
# One answer after the other: a poll is never too early, and a job never too young.
SETTINGS = Settings(
    base_url=BASE,
    resource_bytes_max=2000,
    request_bytes_max=4000,
    validation="off",  # the resources of these tests are about bytes and times
    min_job_age_seconds=0.0,
    polls_per_second=10_000.0,
)


@dataclass
class Exchange:
    """The client's side, and what lies behind the server."""

    ports: Ports
    limits: EngineLimits
    server: Serving
    client: httpx.AsyncClient  # of the server's root
    supervisor: Supervisor
    engine: trio.Nursery

    def work(self) -> None:
        """Let the engine run from here on; before, jobs stay accepted."""
        self.engine.start_soon(self.supervisor.run)

    async def fill(self, resources: Iterable[Prepared], tenant: TenantId = DEFAULT_TENANT) -> None:
        """Take these in, in one batch."""
        await (await self.ports.tenants.store(tenant)).ingest(list(resources))

    async def kick_off(
        self,
        query: str = "",
        *,
        method: str = "GET",
        headers: Mapping[str, str] = KICK_OFF,
        body: bytes | None = None,
    ) -> httpx.Response:
        """The answer of a kick-off at the system level."""
        return await self.client.request(
            method, f"/fhir/$export{query}", headers=dict(headers), content=body
        )

    async def export(self, query: str = "", **kick_off: Any) -> dict[str, Any]:
        """The manifest of a whole export."""
        answer = await self.ended(await self.kick_off(query, **kick_off))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def ended(self, accepted: httpx.Response) -> httpx.Response:
        """The status answer of an accepted job once it has ended."""
        assert accepted.status_code == 202, accepted.text
        path = path_of(accepted.headers["Content-Location"])
        await self.wait_ended(job_of(path))
        return await self.client.get(path)

    async def wait_ended(self, job: JobId) -> None:
        """Wait until the engine is done with a job."""
        jobs, seen = self.ports.export_jobs, 0
        with trio.fail_after(WAIT_SECONDS_MAX):
            while not (await jobs.get(DEFAULT_TENANT, job)).status.ended:
                seen = await self.ports.export_leases.wait_changed(seen)

    async def lines(self, manifest: Mapping[str, Any], kind: str = "output") -> list[Any]:
        """Every resource in the files that a manifest names."""
        found = []
        for item in manifest[kind]:
            answer = await self.client.get(path_of(item["url"]))
            assert answer.status_code == 200
            found += [msgspec.json.decode(line) for line in answer.content.splitlines()]
        return found

    async def nothing_was_created(self) -> bool:
        """No job, no pin and no resource."""
        stores = [await self.ports.tenants.store(tenant) for tenant in TENANTS]
        pins = [pin for store in stores for pin in await store.pins()]
        rows = [(await store.statistics()).rows for store in stores]
        return not (await self.ports.export_jobs.list(None)) and not pins and not any(rows)


def path_of(url: str) -> str:
    """Where an absolute URL of an answer leads on the server under test."""
    assert url.startswith(f"{BASE}/")
    return "/fhir/" + url.removeprefix(f"{BASE}/")


def job_of(location: str) -> JobId:
    """The job that a status URL names."""
    return JobId(location.rpartition("/")[2])


@asynccontextmanager
async def exchange(ports: Ports, *, limits: EngineLimits) -> AsyncIterator[Exchange]:
    """A server over these ports, and a client of it."""
    for tenant in TENANTS:
        await ports.tenants.ensure(tenant)
    supervisor = Supervisor(ports, WorkerId("w1"), limits)
    services = Services(
        ports=ports, limits=limits, settings=SETTINGS, tell=supervisor.tell, ready=lambda: True
    )
    async with (
        serving(create_app(services)) as server,
        httpx.AsyncClient(base_url=server.addresses[0]) as client,
        trio.open_nursery() as engine,
    ):
        yield Exchange(ports, limits, server, client, supervisor, engine)
        engine.cancel_scope.cancel()
