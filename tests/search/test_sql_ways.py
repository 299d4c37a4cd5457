"""Every way that SQLite has to an answer finds the same: what is small in one store is broad in
another. The limits between the ways are moved so that few resources meet them all."""

from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import apsw
import pytest

from backends.sqlite.search.run import count, search_page
from backends.sqlite.search.view import Limits
from engine.fhir.search.query import SearchContext, parse_search
from tests.oracle.oracle import request
from tests.oracle.queries import Queries
from tests.oracle.searched import Answer, searched
from tests.support.fhir_data import BASE, Generator

QUERIES = 150
WAYS = {
    "nothing is small": Limits(
        probed=0, few=0, counted=(1,), fetched=0, looked_into=0, sorted_in_memory=0
    ),
    "bodies are looked into": Limits(
        probed=1, few=0, counted=(2, 5), fetched=0, looked_into=1000, sorted_in_memory=0
    ),
    "bodies say no too often": Limits(
        probed=2, few=0, counted=(3, 9), fetched=2, looked_into=3, sorted_in_memory=2
    ),
    "lists of some size": Limits(
        probed=4, few=0, counted=(1, 4), fetched=12, looked_into=5, sorted_in_memory=6
    ),
}


@asynccontextmanager
async def opened(folder, world):
    """A filled store, a connection to its file, and its definitions."""
    async with searched("sqlite", folder, Generator(world).steps(3)) as store:
        (file,) = (folder / "tenants").glob("*.db")
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            yield store, connection, await store._store.search_definitions()
        finally:
            connection.close()


def parsed(search, text):
    """The query of a text as the oracle takes it: the path below the base URL, and parameters."""
    path = text.partition("?")[0].split("/")
    return parse_search(
        parse_qsl(text.partition("?")[2], keep_blank_values=True),
        type=path[-1] if path[-1] not in ("", "*") else None,
        search=search,
        lenient=False,
        context=SearchContext(now_ms=0, base_urls=(BASE,), compartment=request(text).compartment),
    ).query


def asked(connection, search, text, limits, *, page):
    """All pages of a search on this connection, and its total."""
    query = parsed(search, text)
    answer, position = Answer([], set()), b""
    while True:
        found = search_page(connection, query, search, limit=page, position=position, limits=limits)
        answer.found += [f"{one.type}/{one.id}" for one in found.matches]
        answer.included |= {f"{one.type}/{one.id}" for one in found.included}
        position = found.position
        if not position:
            break
    answer.included -= set(answer.found)
    return answer, count(connection, query, search, limits=limits)


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_finds_the_same(way, tmp_path):
    async with opened(tmp_path, world=11) as (store, connection, search):
        queries = Queries(7, store.world, BASE)
        for number in range(QUERIES):
            text = queries.make()
            expected, total = asked(connection, search, text, Limits(), page=1000)
            page = (2, 5, 50)[number % 3]
            found, counted = asked(connection, search, text, WAYS[way], page=page)
            assert found == expected, text
            assert counted == total == len(found.found), text


SORTED = {"string", "date", "token", "number", "quantity", "uri"}


def sorts(search, types):
    """Queries with each key that results can be in order of, in both directions."""
    for type in types:
        # A canonical with a version stands in the index without it, too, and sorts by both.
        codes = [
            one.code
            for one in search.parameters(type)
            if one.kind in SORTED and one.code != "_profile"
        ]
        for code in ("_id", "_lastUpdated", *codes):
            for key in (code, f"-{code}"):
                yield f"{type}?_sort={key}"


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_sorts_by_one_key_as_the_oracle_does(way, tmp_path):
    async with opened(tmp_path, world=12) as (store, connection, search):
        for number, text in enumerate(sorts(search, ("Observation", "Patient", "ValueSet"))):
            found, _ = asked(connection, search, text, WAYS[way], page=(1, 4, 9, 100)[number % 4])
            assert found.found == store.oracle.search(text), text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "criterion", ["status:not=final", "date=ge2000", "code:missing=false", "subject:missing=false"]
)
async def test_a_sorted_walk_asks_for_all_criteria(way, criterion, tmp_path):
    async with opened(tmp_path, world=13) as (store, connection, search):
        for sort in ("-date", "code", "value-quantity", "-_lastUpdated", "_id", "status,-date"):
            text = f"Observation?{criterion}&_sort={sort}"
            found, total = asked(connection, search, text, WAYS[way], page=3)
            assert found.found == store.oracle.search(text), text
            assert total == len(found.found)
