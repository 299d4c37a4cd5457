"""Random histories give the same pages, includes and counts on SQLite and on the model, also
while pages are read."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backends
from engine.errors import TooCostly
from engine.fhir.search.query import SearchContext, parse_search
from engine.model import Prepared, WorkerId
from engine.ports import TenantStore
from tests.support.builders import prepared
from tests.support.clocks import START_MS, StoreClockByHand
from tests.support.exports import ACME

IDS = ("a", "b", "c", "d")
SYSTEMS = (None, "http://s", "http://t")
CODES = ("x", "y", "z")
DATES = ("2020", "2020-03", "2020-03-14", "2020-03-14T10:00:00Z", "2021-01-01", "1999")
NAMES = ("Müller", "muller", "Mu", "Åse", "Zoe")
NUMBERS = (0, 1, 1.05, 9.5, 10, 100, -1)


def _or_nothing(strategy: Any) -> Any:
    return st.none() | strategy


codings = st.lists(
    st.builds(
        lambda system, code: {"code": code} | ({"system": system} if system else {}),
        st.sampled_from(SYSTEMS),
        st.sampled_from(CODES),
    ),
    max_size=3,
)
concepts = codings.map(lambda coding: {"coding": coding})
periods = st.builds(
    lambda start, end: {"start": min(start, end), "end": max(start, end)},
    st.sampled_from(("2019-01", "2020-01-01", "2020-03-10")),
    st.sampled_from(("2020-03-20", "2021", "2020-02-02")),
)
quantities = st.builds(
    lambda value, unit: {"value": value, **unit},
    st.sampled_from(NUMBERS),
    st.sampled_from(
        ({}, {"unit": "mg"}, {"unit": "gram", "system": "http://u", "code": "g"}, {"code": "mg"})
    ),
)


def references(*types: str) -> Any:
    """References, some to nothing."""
    return st.builds(
        lambda type, id: {"reference": f"{type}/{id}"}, st.sampled_from(types), st.sampled_from(IDS)
    )


patients = st.fixed_dictionaries(
    {},
    optional={
        "name": st.lists(
            st.builds(lambda family: {"family": family}, st.sampled_from(NAMES)), max_size=3
        ),
        "gender": st.sampled_from(("male", "female")),
        "birthDate": st.sampled_from(("1999", "2020-03", "2020-03-14")),
        "generalPractitioner": st.lists(references("Organization", "Practitioner"), max_size=2),
        "managingOrganization": references("Organization"),
    },
)
observations = st.fixed_dictionaries(
    {"status": st.sampled_from(("final", "amended"))},
    optional={
        "code": concepts,
        "subject": references("Patient", "Group"),
        "effectiveDateTime": st.sampled_from(DATES),
        "effectivePeriod": periods,
        "valueQuantity": quantities,
        "component": st.lists(
            st.builds(
                lambda code, value: {"code": code, "valueQuantity": value}, concepts, quantities
            ),
            max_size=3,
        ),
        "derivedFrom": st.lists(references("Observation"), max_size=2),
    },
)
organizations = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(NAMES), "partOf": references("Organization")}
)
BODIES = {"Patient": patients, "Observation": observations, "Organization": organizations}


def _resource(type: str, id: str, members: dict[str, Any]) -> Prepared:
    return prepared(type, id, json.dumps(members).encode()[1:-1])


written = st.one_of(
    *(
        st.builds(lambda id, body, type=type: _resource(type, id, body), st.sampled_from(IDS), body)
        for type, body in BODIES.items()
    )
)

# Queries.

prefixes = st.sampled_from(("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"))


def _texts(pattern: str, *parts: Any) -> Any:
    return st.tuples(*parts).map(lambda values: pattern.format(*values))


tokens = st.one_of(
    st.sampled_from(CODES),
    _texts("|{}", st.sampled_from(CODES)),
    _texts("{}|{}", st.sampled_from(SYSTEMS[1:]), st.sampled_from(CODES)),
    _texts("{}|", st.sampled_from(SYSTEMS[1:])),
)
amounts = _texts(
    "{}{}{}", prefixes, st.sampled_from(NUMBERS), st.sampled_from(("", "||mg", "|http://u|g"))
)
dates = _texts("{}{}", prefixes, st.sampled_from([date[:10] for date in DATES]))
booleans = st.sampled_from(("true", "false"))
ids = st.sampled_from(IDS)
of_patients = st.one_of(
    _texts("family={}", st.sampled_from(("mu", "MÜLLER", "z"))),
    _texts("family:exact={}", st.sampled_from(NAMES)),
    _texts("family:contains={}", st.sampled_from(("l", "se"))),
    _texts("gender:{}=male", st.sampled_from(("not", "missing=true&gender"))),
    _texts("birthdate={}", dates),
    _texts("{}:missing={}", st.sampled_from(("family", "birthdate", "organization")), booleans),
    _texts("general-practitioner={}", ids),
    _texts("organization:Organization.name={}", st.sampled_from(("mu", "z"))),
    _texts("organization:below=Organization/{}", ids),
    _texts("organization:above=Organization/{}", ids),
    _texts("_has:Observation:subject:code={}", tokens),
    _texts("_id={}", ids),
)
of_observations = st.one_of(
    _texts("code={},{}", tokens, tokens),
    _texts("code:not={}", tokens),
    _texts("status={}", st.sampled_from(("final", "amended,final"))),
    _texts("date={}", dates),
    _texts("date=ge{}&date=lt{}", st.sampled_from(("2020", "1999")), st.just("2020-03-14")),
    _texts("value-quantity={}", amounts),
    _texts("code-value-quantity={}${}", tokens, amounts),
    _texts("component-code-value-quantity={}${}", tokens, amounts),
    _texts("{}:missing={}", st.sampled_from(("code", "date", "value-quantity")), booleans),
    _texts("subject=Patient/{}", ids),
    _texts("subject={}", ids),
    _texts("patient.gender={}", st.sampled_from(("male", "female"))),
    _texts("subject:Patient.birthdate={}", dates),
    _texts("subject:Patient.organization.name={}", st.sampled_from(("mu", "z"))),
    _texts("_lastUpdated={}{}", prefixes.filter(lambda prefix: prefix != "ap"), st.just("2026")),
)
orders = st.sampled_from(("", "-")).flatmap(
    lambda sign: st.sampled_from(("_id", "_lastUpdated", "date", "code", "value-quantity")).map(
        lambda key: f"_sort={sign}{key}"
    )
)
also = st.sampled_from(
    (
        "_include=Observation:subject",
        "_include=*",
        "_include:iterate=Patient:organization&_include=Observation:patient",
        "_include:iterate=Observation:derived-from",
        "_sort=status,-date",
        "_sort=-code,value-quantity,_id",
    )
)
queries = st.one_of(
    _texts("Patient?{}&{}", of_patients, of_patients),
    _texts("Patient?{}&_sort={}", of_patients, st.sampled_from(("family", "-birthdate", "_id"))),
    _texts("Patient?{}&_revinclude=Observation:subject", of_patients),
    _texts("Observation?{}", of_observations),
    _texts("Observation?{}&{}", of_observations, orders),
    _texts("Observation?{}&{}&{}", of_observations, of_observations, also),
    st.sampled_from(("?", "?_type=Observation,Organization&_sort=-_lastUpdated", "?_sort=_id")),
)

steps = st.one_of(
    st.tuples(st.just("update"), written),
    st.tuples(st.just("update"), written),
    st.tuples(st.just("delete"), st.tuples(st.sampled_from(tuple(BODIES)), ids)),
    st.tuples(st.just("wait"), st.integers(0, 2)),
    st.tuples(st.just("page"), st.tuples(st.integers(0, 3), st.integers(1, 3))),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,  # the same histories in every run: a failure is never a flake
)
@given(
    st.lists(written, max_size=12),
    st.lists(steps, max_size=25),
    st.lists(queries, min_size=4, max_size=4),
)
def test_any_search_gives_the_same_on_both(first, happening, texts):
    with TemporaryDirectory(prefix="penstock-search-", dir=_fast_folder()) as folder:
        sqlite = trio.run(_run, f"sqlite:{folder}", first, happening, texts)
    assert sqlite == trio.run(_run, "memory:", first, happening, texts)


def _fast_folder() -> str | None:
    """A file system in memory, where there is one: thousands of commits wait for no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def _run(url: str, first: list[Prepared], happening: list[Any], texts: list[str]) -> Any:
    """Everything that can be seen of a history."""
    clock = StoreClockByHand()
    async with backends.open(url, worker=WorkerId("w"), clock=clock, inline=True) as backend:
        await backend.tenants.ensure(ACME)
        store = await backend.tenants.store(ACME)
        await store.ingest(first)
        searches = [await _Search.read(store, text) for text in texts]
        seen: list[Any] = []
        for name, argument in happening:
            match name:
                case "update":
                    await store.update(argument)
                case "delete":
                    await store.delete(*argument)
                case "wait":
                    clock.step_wall(argument)
                case "page":
                    number, limit = argument
                    seen.append(await searches[number].page(limit))
        seen += [await one.rest() for one in searches]
        return seen


class _Search:
    """One search that is read page by page."""

    def __init__(self, store: TenantStore, text: str, query: Any) -> None:
        self._store = store
        self._text = text
        self._query = query
        self._position: bytes | None = b""

    @classmethod
    async def read(cls, store: TenantStore, text: str) -> "_Search":
        path, _, query = text.partition("?")
        parsed = parse_search(
            parse_qsl(query),
            type=path or None,
            search=await store.search_definitions(),
            lenient=False,
            context=SearchContext(now_ms=START_MS),
        )
        return cls(store, text, parsed.query)

    async def page(self, limit: int) -> Any:
        """The next one, and how many there are in all."""
        if self._position is None:
            return None
        try:
            found = await self._store.search(self._query, limit=limit, position=self._position)
        except TooCostly as error:
            return type(error)
        self._position = found.position or None
        # The order in which resources are included is nobody's promise.
        others = sorted((one.type, one.id, one.version) for one in found.included)
        total = await self._store.count(self._query)
        return self._text, [(one.type, one.id, one.version) for one in found.matches], others, total

    async def rest(self) -> Any:
        """All that is left."""
        pages = []
        while self._position is not None:
            pages.append(await self.page(2))
        return pages
