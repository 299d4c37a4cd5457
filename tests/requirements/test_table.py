"""docs/requirements.md and the tests say the same: each number is there, and each test names it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| ([ED]\d+) \|.*\| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_\w+)`")
NUMBERS = {
    *(f"E{n}" for n in (*range(10, 15), *range(21, 29), 30, 31, *range(44, 63), 67)),
    *(f"E{n}" for n in range(71, 80)),
    *(f"D{n}" for n in (1, 2, 3, 4, 6, 11, 13, 14, 18)),
}


def table() -> str:
    return (ROOT / "docs" / "requirements.md").read_text()


def rows() -> dict[str, list[str]]:
    """The names of the tests of each number."""
    return {number: TEST.findall(cell) for number, cell in ROW.findall(table())}


@pytest.fixture(scope="module")
def tests() -> dict[str, str]:
    """The source of every test by its name."""
    found: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in table():
                found[node.name] = found.get(node.name, "") + str(
                    ast.get_source_segment(text, node)
                )
    return found


def test_every_requirement_has_one_row() -> None:
    numbers = [number for number, _ in ROW.findall(table())]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == NUMBERS


@pytest.mark.parametrize("number", sorted(NUMBERS))
def test_a_requirement_is_shown_by_tests_that_name_it(number: str, tests: dict[str, str]) -> None:
    assert rows()[number]
    for name in rows()[number]:
        assert name in tests, f"{name} is not a test"
        assert re.search(rf"(?<![A-Za-z0-9]){number}(?![0-9])", tests[name]), (
            f"{name} does not name {number}"
        )


def test_every_test_of_the_table_exists(tests: dict[str, str]) -> None:
    named = set(TEST.findall(table()))
    assert named
    assert named <= set(tests)
