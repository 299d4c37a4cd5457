"""Reads and searches in the store: what the worker thread takes, and the way there beside it.

Every kind of query is asked with changing values that the data set has, one after the other, on
one connection, as the server does; all of it goes through the store's own methods. Each question
was asked once before, so the pages of the file are in memory. The time of
the thread is measured by the door through which calls reach it; what is left of a call's whole
time is the hop from the loop to the thread and back. Bodies are read too, not yet put together.
"""

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

import msgspec
import trio

from backends.clock import SystemStoreClock
from backends.definitions import ReleaseMakers, SearchSettings
from backends.door import Door
from backends.sqlite.doors import Doors, thread_doors
from backends.sqlite.tenant_store import SqliteTenantStore, open_tenant_store
from bench.measure import percentile
from bench.process import tenant_file
from engine.fhir.search.query import SearchContext, parse_search
from engine.fhir.search.tree import Query
from engine.tenant import DEFAULT_TENANT
from web.fhir.criteria import parse_pairs

ASKED_MAX = 400  # of each kind
SECONDS_MAX = 15.0  # of each kind
WARMING_SECONDS_MAX = 5.0
PAGE = 20
SAMPLED = 2_000  # observations that values are taken from
LOINC = "http://loinc.org"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Draw = Callable[[random.Random], Any]
Ask = Callable[[Any], Awaitable[int]]


class Sample(NamedTuple):
    """Values that the data has."""

    observations: list[tuple[str, str, str]]  # id, patient, code
    codes: list[str]  # of observations, the most frequent first
    organizations: list[str]  # names
    reads: list[tuple[str, str]]  # type and id


def measure(root: Path, data: Path) -> dict[str, Any]:
    """Milliseconds in the thread and of the hop, by kind of query, on the store below root.

    `data` is where its NDJSON files lie.
    """
    sample = read_sample(data)
    return trio.run(_measure_all, tenant_file(root / "store"), sample)


# What is asked.


def page_queries(sample: Sample) -> dict[str, Callable[[random.Random], str]]:
    """Search URLs of each kind, below the base."""

    def some_code(chance: random.Random) -> str:
        return f"{LOINC}|{chance.choice(sample.codes[:30])}"

    def years(chance: random.Random) -> tuple[int, int]:
        first = chance.randrange(2008, 2018)
        return first, first + 1

    def subject_and_code(chance: random.Random) -> str:
        _, patient, code = chance.choice(sample.observations)
        return f"Observation?subject={patient}&code={LOINC}|{code}"

    def code_and_dates(chance: random.Random) -> str:
        first, end = years(chance)
        return f"Observation?code={some_code(chance)}&date=ge{first}&date=lt{end}"

    return {
        "subject_and_code": subject_and_code,
        "code": lambda chance: f"Observation?code={some_code(chance)}",
        "code_and_dates": code_and_dates,
        "sorted_by_date": lambda chance: "Observation?_sort=-date",
        "dates_sorted_by_date": lambda chance: f"Observation?date=lt{years(chance)[0]}&_sort=-date",
        "code_sorted_by_date": lambda chance: f"Observation?code={some_code(chance)}&_sort=-date",
        "patient_sorted_by_date": lambda chance: (
            f"Observation?patient={chance.choice(sample.observations)[1]}&_sort=-date"
        ),
        "blood_pressure_over": lambda chance: (
            "Observation?component-code-value-quantity="
            f"{LOINC}|8480-6$gt{chance.randrange(100, 180)}"
        ),
        "chain_of_three": lambda chance: (
            "DiagnosticReport?result:Observation.encounter.service-provider.name="
            + _escaped(chance.choice(sample.organizations))
        ),
        "has": lambda chance: f"Patient?_has:Observation:patient:code={some_code(chance)}",
    }


def _totals(sample: Sample) -> dict[str, Callable[[random.Random], str]]:
    """Searches that are only counted. Values do not change: the number of hits is the cost."""
    codes = ",".join(f"{LOINC}|{code}" for code in ("8302-2", "29463-7", "72166-2", "4548-4"))
    return {
        "total_of_four_codes": lambda chance: f"Observation?code={codes}",
        "total_of_a_category": lambda chance: "Observation?category=vital-signs",
        "total_of_a_type": lambda chance: "Observation?",
    }


def _escaped(text: str) -> str:
    return text.replace(" ", "%20").replace("&", "%26").replace(",", "\\,").replace("+", "%2B")


# Values.


def read_sample(data: Path) -> Sample:
    """Values from all over the data set: files are read in strides, not whole."""
    chance = random.Random(4)
    observations, codes = [], Counter[str]()
    for line in spread_lines(sorted(data.glob("*-Observation.ndjson")), SAMPLED):
        resource = msgspec.json.decode(line)
        code = resource["code"]["coding"][0]["code"]
        codes[code] += 1
        observations.append((resource["id"], resource["subject"]["reference"], code))
    names = [
        msgspec.json.decode(line)["name"]
        for path in sorted(data.glob("*-Organization.ndjson"))
        for line in path.read_bytes().splitlines()
    ]
    reads = [
        (found["resourceType"], found["id"])
        for path in sorted(data.glob("*.ndjson"))
        for line in spread_lines([path], 50)
        for found in [msgspec.json.decode(line)]
    ]
    chance.shuffle(reads)
    chance.shuffle(observations)
    ordered = [code for code, _ in codes.most_common()]
    return Sample(observations, ordered, sorted(set(names)), reads)


def spread_lines(paths: Sequence[Path], wanted: int) -> Iterator[bytes]:
    """About so many whole lines, from places evenly over these files."""
    for path in paths:
        size = path.stat().st_size
        stride = max(1, size * len(paths) // wanted)
        with path.open("rb") as file:
            for place in range(0, size, stride):
                file.seek(place)
                if place:
                    file.readline()
                if line := file.readline():
                    yield line


# Measuring.


class TimedDoor:
    """A door that notes how long the last call took in its thread."""

    def __init__(self, inner: Door) -> None:
        self._inner = inner
        self.seconds = 0.0

    async def call(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        interrupt: Callable[[], None] | None = None,
    ) -> T:
        """See Door.call."""

        def timed() -> T:
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.seconds = time.perf_counter() - began

        return await self._inner.call(timed, interrupt=interrupt)


async def _measure_all(path: Path, sample: Sample) -> dict[str, Any]:
    doors = thread_doors()
    read, search = TimedDoor(doors.read), TimedDoor(doors.search)
    timed = Doors(read=read, search=search, scan=doors.scan, write=doors.write, upkeep=doors.upkeep)
    async with _opened(path, timed) as store:
        live = (await store.statistics()).rows
        found: dict[str, Any] = {"resources": sum(live.values())}
        parse = await _parser(store)

        async def read_one(name: tuple[str, str]) -> int:
            return int(await store.read(*name) is not None)

        async def first_page(query: Query) -> int:
            return len((await store.search(query, limit=PAGE)).matches)

        found["read"] = await _times(read, lambda chance: chance.choice(sample.reads), read_one)
        for name, url in page_queries(sample).items():
            found[name] = await _times(search, _parsed(parse, url), first_page)
        for name, url in _totals(sample).items():
            found[name] = await _times(search, _parsed(parse, url), store.count)
    return found


def _parsed(parse: Callable[[str], Query], url: Callable[[random.Random], str]) -> Draw:
    return lambda chance: parse(url(chance))


def _opened(path: Path, doors: Doors) -> AbstractAsyncContextManager[SqliteTenantStore]:
    maker = ReleaseMakers(SearchSettings())(DEFAULT_TENANT)
    return open_tenant_store(
        path, clock=SystemStoreClock(), doors=doors, new_id=lambda: "", maker=maker
    )


async def _parser(store: SqliteTenantStore) -> Callable[[str], Query]:
    search = await store.search_definitions()
    context = SearchContext(now_ms=time.time_ns() // 1_000_000)

    def parse(url: str) -> Query:
        type, _, query = url.partition("?")
        found = parse_search(
            parse_pairs(query), type=type, search=search, lenient=False, context=context
        )
        return found.query

    return parse


async def _times(door: TimedDoor, draw: Draw, ask: Ask) -> dict[str, float]:
    """p50 and p99 in milliseconds, in the thread and outside of it; hits on the average."""
    chance = random.Random(2)
    questions = [draw(chance) for _ in range(ASKED_MAX)]
    await _warm(questions, ask)
    inside: list[float] = []
    outside: list[float] = []
    hits = 0
    end = time.perf_counter() + SECONDS_MAX
    while len(inside) < ASKED_MAX and time.perf_counter() < end:
        question = draw(chance)
        began = time.perf_counter()
        hits += await ask(question)
        whole = time.perf_counter() - began
        inside.append(door.seconds)
        outside.append(whole - door.seconds)
        if time.perf_counter() > end:
            break
    return {
        "n": len(inside),
        "hits": hits / len(inside),
        "p50_ms": 1000 * percentile(inside, 0.50),
        "p99_ms": 1000 * percentile(inside, 0.99),
        "hop_p50_ms": 1000 * percentile(outside, 0.50),
    }


async def _warm(questions: Sequence[Any], ask: Ask) -> None:
    """Ask all of them once, so that what is measured is no disk."""
    end = time.perf_counter() + WARMING_SECONDS_MAX
    for question in questions:
        await ask(question)
        if time.perf_counter() > end:
            return
