"""A store that holds the same resources as the oracle, and is asked the same queries."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from urllib.parse import parse_qsl

import backends
from engine.fhir.body import prepare
from engine.fhir.search.query import SearchContext, parse_search
from engine.model import WorkerId
from engine.ports import TenantStore
from engine.tenant import DEFAULT_TENANT
from tests.oracle.oracle import Oracle, request
from tests.oracle.world import Resource, World, parsed
from tests.support.clocks import StoreClockByHand
from tests.support.fhir_data import BASE, Step

KINDS = ("sqlite", "memory")
BODY_BYTES_MAX = 1 << 20


@dataclass
class Answer:
    """What a store found, over all pages."""

    found: list[str]  # Type/id, in the order in which they came
    included: set[str]


class Searched:
    """A filled store, and the oracle over what it holds."""

    def __init__(self, store: TenantStore, world: World, now_ms: int, zone: tzinfo) -> None:
        self._store = store
        self._now_ms = now_ms
        self.world = world
        self._zone = zone
        self.oracle = Oracle(world, base=BASE, now_ms=now_ms, zone=zone)

    async def search(self, text: str, *, limit: int = 1000) -> Answer:
        """All pages of a search, of at most `limit` matches each. Raises BadRequest."""
        asked = request(text)
        path = text.partition("?")[0].split("/")
        search = await self._store.search_definitions()
        parsed_query = parse_search(
            parse_qsl(text.partition("?")[2], keep_blank_values=True),
            type=path[-1] if path[-1] not in ("", "*") else None,
            search=search,
            lenient=False,
            context=SearchContext(
                now_ms=self._now_ms,
                zone=self._zone,
                base_urls=(BASE,),
                compartment=asked.compartment,
            ),
        )
        answer = Answer([], set())
        position = b""
        while True:
            page = await self._store.search(parsed_query.query, limit=limit, position=position)
            answer.found += [f"{one.type}/{one.id}" for one in page.matches]
            answer.included |= {f"{one.type}/{one.id}" for one in page.included}
            position = page.position
            if not position:
                break
        answer.included -= set(answer.found)
        assert await self._store.count(parsed_query.query) == len(answer.found)
        return answer


@asynccontextmanager
async def searched(
    kind: str, folder: Path, steps: Iterable[Step], zone: tzinfo = UTC
) -> AsyncIterator[Searched]:
    """A store of this kind to which all of this has happened; dates without a zone are in
    `zone`."""
    clock = StoreClockByHand()
    url = f"sqlite:{folder}" if kind == "sqlite" else "memory:"
    async with backends.open(
        url,
        worker=WorkerId("w1"),
        clock=clock,
        inline=True,
        search=backends.SearchSettings(base_url=BASE, zone_of=lambda _: zone),
    ) as backend:
        await backend.tenants.ensure(DEFAULT_TENANT)
        store = await backend.tenants.store(DEFAULT_TENANT)
        world = await _happen(store, clock, steps)
        yield Searched(store, world, clock.now_ms(), zone)


async def _happen(store: TenantStore, clock: StoreClockByHand, steps: Iterable[Step]) -> World:
    live: dict[tuple[str, str], Resource] = {}
    numbers: dict[tuple[str, str], int] = {}
    for step in steps:
        clock.step_wall(7)
        key = (step.type, step.id)
        numbers.setdefault(key, len(numbers))
        if step.body is None:
            await store.delete(*key)
            live.pop(key, None)
            continue
        version = (await store.update(prepare(step.body, bytes_max=BODY_BYTES_MAX))).version
        assert version.body is not None
        live[key] = Resource(*key, parsed(version.body), version.updated_ms, numbers[key])
    return World(live.values())
