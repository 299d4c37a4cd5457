"""The hand-written cases, on every backend and on the oracle itself."""

from collections import Counter

import pytest

from engine.errors import BadRequest
from tests.oracle.hand_written import Case, cases, steps
from tests.oracle.searched import KINDS, searched

CASES = list(cases())
CASES_MIN = 200
CHAPTERS = sorted({case.chapter for case in CASES})


def of(chapter: str) -> list[Case]:
    return [case for case in CASES if case.chapter == chapter]


def differs(case: Case, found: list[str], included: set[str]) -> str:
    """What is not as the table says; "" if all is."""
    right = found == list(case.found) if case.ordered else sorted(found) == sorted(case.found)
    if right and included == case.included:
        return ""
    return f"{case.line}\n    found {' '.join(found)} + {' '.join(sorted(included))}"


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_search_finds_what_the_table_says(kind, chapter, tmp_path):
    wrong = []
    async with searched(kind, tmp_path, steps()) as store:
        for case in of(chapter):
            try:
                answer = await store.search(case.query)
            except BadRequest as error:
                if not case.refused:
                    wrong.append(f"{case.line}\n    {type(error).__name__}: {error}")
                continue
            if case.refused:
                wrong.append(f"{case.line}\n    found {answer.found}")
            elif difference := differs(case, answer.found, answer.included):
                wrong.append(difference)
    assert not wrong, "\n".join(wrong)


async def test_the_oracle_finds_what_the_table_says(tmp_path):
    wrong = []
    async with searched("memory", tmp_path, steps()) as store:
        for case in CASES:
            if case.refused:
                continue
            found = store.oracle.search(case.query)
            included = store.oracle.included(case.query, found)
            if difference := differs(case, found, included):
                wrong.append(difference)
    assert not wrong, "\n".join(wrong)


def test_the_table_is_large_and_names_no_case_twice():
    assert len(CASES) >= CASES_MIN
    assert [line for line, times in Counter(case.line for case in CASES).items() if times > 1] == []
