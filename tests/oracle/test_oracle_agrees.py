"""Generated queries over generated resources: every backend finds what the oracle finds.

PENSTOCK_ORACLE_QUERIES=5000 asks that many of each backend; without it a few hundred are asked.
"""

import os
from collections.abc import Iterator
from datetime import UTC
from random import Random
from zoneinfo import ZoneInfo

import pytest

from engine.errors import BadRequest
from tests.oracle.any_type import AnyType, all_types
from tests.oracle.queries import Queries
from tests.oracle.searched import KINDS, Answer, Searched, searched
from tests.support.fhir_data import BASE, Generator, Step

QUERIES = int(os.environ.get("PENSTOCK_ORACLE_QUERIES", "480"))
CLINICAL, ANY = 4, 4  # worlds of either kind, each with resources of its own
ROUNDS_CLINICAL, ROUNDS_ANY = 4, 6
ZONES = (UTC, ZoneInfo("America/New_York"))  # of every other world
PAGES = (3, 7, 1000)  # matches on a page
SHOWN_MAX = 10


def happenings(world: int) -> Iterator[Step]:
    """What is in a world: clinical resources, or a fourth of all the types that there are."""
    if world < CLINICAL:
        return Generator(world + 1).steps(ROUNDS_CLINICAL)
    types = all_types()
    Random(0).shuffle(types)
    part = {*types[world - CLINICAL :: ANY], "Patient", "List"}
    return AnyType(world, sorted(part)).steps(ROUNDS_ANY)


def difference(text: str, answer: Answer, store: Searched) -> str:
    """How an answer differs from the oracle's; "" if it does not."""
    expected, found = store.oracle.search(text), answer.found
    if text.startswith("?"):  # over several types no order is promised
        expected, found = sorted(expected), sorted(found)
    if found != expected:
        return f"{text}\n    oracle {expected}\n    found  {found}"
    wanted = store.oracle.included(text, expected)
    if wanted != answer.included:
        return f"{text}\n    oracle + {sorted(wanted)}\n    found  + {sorted(answer.included)}"
    return ""


@pytest.mark.parametrize("world", range(CLINICAL + ANY))
@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_finds_what_the_oracle_finds(kind, world, tmp_path):
    wrong: list[str] = []
    hits, asked = 0, QUERIES // (CLINICAL + ANY)
    async with searched(kind, tmp_path, happenings(world), ZONES[world % 2]) as store:
        queries = Queries(world, store.world, BASE)
        for number in range(asked):
            text = queries.make()
            try:
                answer = await store.search(text, limit=PAGES[number % len(PAGES)])
            except BadRequest as error:
                wrong.append(f"{text}\n    {type(error).__name__}: {error}")
                continue
            hits += bool(answer.found)
            wrong += filter(None, [difference(text, answer, store)])
    assert not wrong, f"{len(wrong)} of {asked} differ\n" + "\n".join(wrong[:SHOWN_MAX])
    assert hits > asked // 4, "too few queries find anything"
