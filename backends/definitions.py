"""What a backend is told of search: the FHIR release, the tenants' addresses and their zone.

A backend keeps the state (the numbers of paths, the secret, the tenant's own SearchParameters);
how definitions are made of it is the engine's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec

from engine.fhir.definitions.load import load_definitions
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.registry import Release, build_search, path_names
from engine.tenant import DEFAULT_TENANT, TenantId

SEARCH_PARAMETER = "SearchParameter"  # writing one changes what can be searched for


class DefinitionsMaker(Protocol):
    """Makes the search definitions of one tenant. Pure; called in any thread."""

    @property
    def made_for(self) -> str:
        """The settings that decide what index rows say. A store keeps those that its rows were
        made for, and goes on with them until its index is made again."""
        ...

    def path_names(self, own: Sequence[bytes]) -> Sequence[str]:
        """Every path that needs a number, in an order that is always the same. `own` are bodies
        of the tenant's SearchParameters. Raises NotSupported, BadRequest for what cannot be
        one."""
        ...

    def make(
        self,
        own: Sequence[bytes],
        *,
        generation: int,
        secret: bytes,
        path_numbers: Mapping[str, int],
        made_for: str,
    ) -> SearchDefinitions:
        """One generation, for these settings. Raises as path_names."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that one generation of a tenant's search definitions is made of. May be pickled, for
    a process of our own: it holds the store's secret."""

    maker: DefinitionsMaker
    own: Sequence[bytes]
    generation: int
    secret: bytes
    path_numbers: Mapping[str, int]
    made_for: str

    def make(self) -> SearchDefinitions:
        """The definitions. Raises as DefinitionsMaker.path_names."""
        return self.maker.make(
            self.own,
            generation=self.generation,
            secret=self.secret,
            path_numbers=self.path_numbers,
            made_for=self.made_for,
        )


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all tenants of a backend."""

    release: str = "R4"
    base_url: str = ""  # FHIR base of the default tenant; empty: only relative references are local
    zone_of: Callable[[TenantId], tzinfo] = lambda _: UTC  # of dates without one

    def base_urls(self, tenant: TenantId) -> tuple[str, ...]:
        """Absolute references below these mean the tenant's own resources."""
        if not self.base_url:
            return ()
        base = self.base_url.rstrip("/")
        return (base if tenant == DEFAULT_TENANT else f"{base}/{tenant}",)


MakerOf = Callable[[TenantId], DefinitionsMaker]


class ReleaseMakers:
    """Makers for all tenants from a published release, which is read when the first one asks."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def __call__(self, tenant: TenantId) -> DefinitionsMaker:
        """The maker of one tenant's definitions."""
        return ReleaseMaker(
            _release(self._settings.release),
            base_urls=self._settings.base_urls(tenant),
            zone=self._settings.zone_of(tenant),
        )


class MadeFor(msgspec.Struct, frozen=True, array_like=True):
    """DefinitionsMaker.made_for, as JSON."""

    zone: str
    base_urls: tuple[str, ...]

    @property
    def zone_info(self) -> tzinfo:
        """The zone itself."""
        return UTC if self.zone == "UTC" else ZoneInfo(self.zone)


class ReleaseMaker:
    """DefinitionsMaker from a published release of FHIR."""

    def __init__(self, release: Release, *, base_urls: tuple[str, ...], zone: tzinfo) -> None:
        self._release = release
        self._made_for = msgspec.json.encode(MadeFor(str(zone), base_urls)).decode()

    def __reduce__(self) -> tuple[Any, ...]:
        return _release_maker, (self._release.definitions.release, self._made_for)

    @property
    def made_for(self) -> str:
        """See DefinitionsMaker."""
        return self._made_for

    def path_names(self, own: Sequence[bytes]) -> Sequence[str]:
        """See DefinitionsMaker."""
        return path_names(self._release, own)

    def make(
        self,
        own: Sequence[bytes],
        *,
        generation: int,
        secret: bytes,
        path_numbers: Mapping[str, int],
        made_for: str,
    ) -> SearchDefinitions:
        """See DefinitionsMaker."""
        settings = msgspec.json.decode(made_for, type=MadeFor)
        return build_search(
            self._release,
            own=own,
            generation=generation,
            secret=secret,
            path_numbers=path_numbers,
            base_urls=settings.base_urls,
            zone=settings.zone_info,
        )


def _release_maker(release: str, made_for: str) -> ReleaseMaker:
    """A maker that was pickled, in another process."""
    settings = msgspec.json.decode(made_for, type=MadeFor)
    return ReleaseMaker(
        _release(release),
        base_urls=settings.base_urls,
        zone=settings.zone_info,
    )


@cache
def _release(name: str) -> Release:
    """A published release. Reading it takes 90 ms, and nothing changes what was read."""
    return Release(load_definitions(name))
