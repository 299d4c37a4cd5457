"""The cases and the oracle can see: each bug that is planted in the engine is noticed."""

from pathlib import Path

import pytest

from engine.errors import BadRequest
from tests.oracle.hand_written import Case, cases, steps
from tests.oracle.planted import BUGS, Bug
from tests.oracle.queries import Queries
from tests.oracle.searched import Searched, searched
from tests.oracle.test_cases import differs
from tests.oracle.test_oracle_agrees import difference, happenings
from tests.support.fhir_data import BASE

BUGS_MIN = 15
QUERIES_MAX = 500  # generated ones, for what no case notices


async def first_case(store: Searched) -> Case | None:
    """The first case that is not as the table says."""
    for case in cases():
        try:
            answer = await store.search(case.query)
        except BadRequest:
            if not case.refused:
                return case
        else:
            if case.refused or differs(case, answer.found, answer.included):
                return case
    return None


async def first_query(store: Searched) -> str | None:
    """The first generated query with which the oracle disagrees."""
    queries = Queries(1, store.world, BASE)
    for _ in range(QUERIES_MAX):
        text = queries.make()
        try:
            answer = await store.search(text)
        except BadRequest:
            return text
        if difference(text, answer, store):
            return text
    return None


async def caught(folder: Path) -> Case | str | None:
    """What notices, the cases or else the oracle."""
    async with searched("sqlite", folder / "cases", steps()) as store:
        case = await first_case(store)
    if case is not None:
        return case
    async with searched("sqlite", folder / "queries", happenings(0)) as store:
        return await first_query(store)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
async def test_a_planted_bug_is_noticed(bug: Bug, tmp_path):
    with bug.planted():
        assert await caught(tmp_path) is not None


async def test_without_a_bug_nothing_is_noticed(tmp_path):
    assert await caught(tmp_path) is None
    assert len(BUGS) >= BUGS_MIN
    assert len({bug.what for bug in BUGS}) == len(BUGS)
