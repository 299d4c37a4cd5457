"""What docs/search.md says of queries is what the parser does."""

import re
from pathlib import Path

import pytest

from engine.errors import BadParameter, NotSupported
from engine.fhir.search import criteria, includes, parse_values, query, results
from tests.support.published_search import criterion, parse

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "search.md").read_text()


def section(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(text):
    """The rows of the first table, as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if "---" not in line][1:]


def test_limits_are_those_of_the_code():
    told = {name.strip(): int(most.replace(",", "")) for name, most in rows(section("Limits"))}
    assert list(told.values()) == [
        criteria.VALUES_MAX,
        query.PARAMETERS_MAX,
        parse_values.VALUE_CHARS_MAX,
        criteria.DEPTH_MAX,
        criteria.BRANCHES_MAX,
        criteria.COMPARISONS_MAX,
        includes.INCLUDES_MAX,
        results.SORT_KEYS_MAX,
        results.ELEMENTS_MAX,
    ]


# A parameter of each type, with a value that goes with all modifiers but one.
EXAMPLES = {
    "string": ("Patient", "name", "a"),
    "token": ("Patient", "identifier", "a"),
    "reference": ("Encounter", "location", "1"),
    "date": ("Patient", "birthdate", "2020"),
    "number": ("RiskAssessment", "probability", "1"),
    "quantity": ("Observation", "value-quantity", "1"),
    "uri": ("ValueSet", "url", "http://a/b"),
    "composite": ("Observation", "code-value-quantity", "a$1"),
}
MODIFIERS = ["exact", "contains", "not", "of-type", "identifier", "above", "below", "Location"]


@pytest.mark.parametrize("row", rows(section("What is here")), ids=lambda row: row[0].strip())
def test_modifiers_are_those_of_the_table(row):
    told = set(re.findall(r"`:([^`]+)`", row[3].replace(":[type]", ":Location")))
    type, code, value = EXAMPLES[row[0].strip()]
    taken = set()
    for modifier in MODIFIERS:
        try:
            criterion(type, f"{code}:{modifier}", "a|b|c" if modifier == "of-type" else value)
        except (BadParameter, NotSupported):
            continue
        taken.add(modifier)
    assert taken == told


@pytest.mark.parametrize("row", rows(section("What is here")), ids=lambda row: row[0].strip())
def test_every_type_but_composites_takes_missing(row):
    type, code, _ = EXAMPLES[row[0].strip()]
    if row[0].strip() == "composite":
        with pytest.raises(BadParameter):
            parse(type, (f"{code}:missing", "true"))
    else:
        assert criterion(type, f"{code}:missing", "true").missing


def test_examples_of_searches_are_understood():
    queries = re.findall(r"(?<![\w/])([A-Z][A-Za-z]+)\?([^\s`|]+)", PAGE)
    assert len(queries) >= 6
    for type, text in queries:
        name, _, value = text.partition("=")
        assert criterion(type, name, "x" if value == "..." else value)
