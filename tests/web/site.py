"""The application of a test, and what lies behind it."""

from dataclasses import dataclass

from quart.typing import TestClientProtocol

from engine.messages import Command
from engine.model import WorkerId
from engine.ports import Ports
from engine.supervisor import Supervisor
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.support.clocks import VirtualClock
from web.app import PenstockApp
from web.services import Services

BASE = "https://fhir.example.org/base/fhir"
TENANTS = (DEFAULT_TENANT, TenantId("acme"), TenantId("acme/research"))
WORKER = WorkerId("w1")


@dataclass
class Site:
    """One process's web, and what lies behind it."""

    services: Services
    app: PenstockApp
    clock: VirtualClock
    commands: list[Command]
    flags: dict[str, bool]  # what `ready` says

    @property
    def ports(self) -> Ports:
        return self.services.ports

    @property
    def client(self) -> TestClientProtocol:
        return self.app.test_client()

    def supervisor(self) -> Supervisor:
        """A worker for the jobs that were kicked off; whoever asked runs it."""
        return Supervisor(self.ports, WORKER, self.services.limits)

    async def nothing_was_created(self) -> bool:
        """No job, no pin, no resource, and nobody was told of one."""
        jobs = await self.ports.export_jobs.list(None)
        stores = [await self.ports.tenants.store(tenant) for tenant in TENANTS]
        pins = [pin for store in stores for pin in await store.pins()]
        rows = [(await store.statistics()).rows for store in stores]
        return not jobs and not pins and not any(rows) and not self.commands
