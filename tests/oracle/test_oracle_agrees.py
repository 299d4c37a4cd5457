"""Generated queries over generated resources: every backend finds what the oracle finds.

PENSTOCK_ORACLE_QUERIES=5000 asks that many; without it a few hundred are asked.
"""

import os

import pytest

from engine.errors import BadRequest
from tests.oracle.queries import Queries
from tests.oracle.searched import KINDS, Answer, Searched, searched
from tests.support.fhir_data import BASE, Generator

QUERIES = int(os.environ.get("PENSTOCK_ORACLE_QUERIES", "600"))
WORLDS = 4  # each with resources of its own
ROUNDS = 4
PAGES = (3, 7, 1000)  # matches on a page
SHOWN_MAX = 10


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


@pytest.mark.parametrize("world", range(1, WORLDS + 1))
@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_finds_what_the_oracle_finds(kind, world, tmp_path):
    wrong: list[str] = []
    hits = 0
    async with searched(kind, tmp_path, Generator(world).steps(ROUNDS)) as store:
        queries = Queries(world, store.world, BASE)
        for number in range(QUERIES // WORLDS):
            text = queries.make()
            limit = PAGES[number % len(PAGES)]
            try:
                answer = await store.search(text, limit=limit)
            except BadRequest as error:
                wrong.append(f"{text}\n    {type(error).__name__}: {error}")
                continue
            hits += bool(answer.found)
            wrong += filter(None, [difference(text, answer, store)])
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:SHOWN_MAX])
    assert hits > QUERIES // WORLDS // 4, "too few queries find anything"
