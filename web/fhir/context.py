"""Context: what the handlers of one FHIR base share, and the way from a body to a resource."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import trio
from quart import request

from backends.door import ThreadDoor
from engine.errors import DeadlinePassed
from engine.fhir.definitions.load import load_definitions
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.validate import Validator
from engine.interactions.intake import Intake
from engine.ports import TenantStore
from web.fhir.tenancy import current_tenant, tenant_base
from web.services import Services
from web.upload import Uploads

# A body up to this is looked through in the loop's own thread: it takes about a millisecond at
# most, and handing it to another thread and back is not free either.
INLINE_BYTES_MAX = 64 << 10
THREADS_MAX = 2

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FhirContext:
    """Made once for an application, inside its run. Holds nothing of any request."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        self.services = services
        self.definitions = load_definitions()
        self.validator = Validator(self.definitions)
        self._uploads = uploads
        self._door = ThreadDoor(trio.CapacityLimiter(THREADS_MAX))

    @property
    def base(self) -> str:
        """The address of the current request's FHIR base, without a slash at the end."""
        return tenant_base(self.services, current_tenant())

    @property
    def now_ms(self) -> int:
        return self.services.ports.clock.now_ms()

    def new_id(self) -> str:
        """An id that no resource has."""
        return str(uuid.UUID(hex=self.services.ports.entropy.token(), version=4))

    async def store(self) -> TenantStore:
        """The store of the current request's tenant. Raises NotFound and what opening raises."""
        return await self.services.ports.tenants.store(current_tenant())

    def intake(self, search: SearchDefinitions | None = None) -> Intake:
        """What the current request's body goes through. With `search`, index rows are made."""
        settings = self.services.settings
        validated = settings.validation_of(current_tenant()) == "structure"
        return Intake(
            bytes_max=settings.resource_bytes_max,
            structure=self.validator if validated else None,
            search=search,
        )

    @asynccontextmanager
    async def body(self, *, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        """All of the current request's body; see Uploads.whole_body."""
        async with self._uploads.whole_body(request, bytes_max=bytes_max) as raw:
            yield raw

    async def look_through(self, size_bytes: int, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run what takes time by the size of a body: in a thread if that is large."""
        if size_bytes <= INLINE_BYTES_MAX:
            return function(*args)
        return await self._door.call(function, *args)

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Stop the queries in the block when they take too long. Raises DeadlinePassed."""
        seconds = self.services.settings.search_seconds
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            raise DeadlinePassed(
                f"the query took longer than {seconds:g} seconds and was stopped: "
                "ask for less, or with more specific criteria (setting search_seconds)"
            )


def one_text(values: Sequence[str]) -> str | None:
    """The text of a parameter or header that is sent at most once; the last counts."""
    return values[-1] if values else None
