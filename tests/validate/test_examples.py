"""Published resources pass, but for those that break the rules; broken ones do not."""

import copy
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.fhir.body import minified
from engine.fhir.elements import Summary, with_elements, with_summary
from tests.support.package import r4_resources

SYNTHEA = Path(__file__).resolve().parents[1] / "data" / "synthea-r4"
# Resources of the package that are not valid, each with the issues and why they are right.
EXCEPTIONS = json.loads(Path(__file__).with_name("r4_exceptions.json").read_text())
BROKEN_BYTES_MAX = 20_000  # of an example that is broken in every place


@pytest.fixture(scope="module")
def examples() -> dict[str, bytes]:
    return dict(r4_resources())


def test_every_published_resource_passes_but_the_listed_ones(validator, examples):
    refused = {}
    for name, body in examples.items():
        issues = validator.check_body(body)
        if issues:
            refused[name] = sorted({f"{one.expression}: {one.diagnostics}" for one in issues})
    assert len(examples) > 5300
    assert refused == {name: one["issues"] for name, one in EXCEPTIONS.items()}


def test_every_exception_has_its_reason():
    for name, one in EXCEPTIONS.items():
        assert len(one["reason"]) > 20, name


def test_page_on_validation_lists_the_exceptions(examples):
    page = (Path(__file__).resolve().parents[2] / "docs" / "validation.md").read_text()
    rows = re.findall(r"^\| `([A-Za-z]+-[\w-]+)` \| (.+) \|$", page, re.MULTILINE)
    assert dict(rows) == {name: one["reason"] for name, one in EXCEPTIONS.items()}
    assert f"{len(examples):,} resources" in page
    assert f"{len(examples) - len(EXCEPTIONS):,} pass" in page


@pytest.mark.parametrize("path", sorted(SYNTHEA.glob("*.gz")), ids=lambda path: path.name[:-10])
def test_every_resource_of_the_sample_data_passes(validator, path):
    lines = gzip.decompress(path.read_bytes()).splitlines()
    assert lines
    assert all(validator.check_body(line) == [] for line in lines)


def test_parts_of_a_sound_resource_are_sound(validator, definitions, examples):
    """What a summary leaves out was neither mandatory nor all that an element had."""
    for name, body in examples.items():
        if name in EXCEPTIONS or len(body) > BROKEN_BYTES_MAX:
            continue
        text = minified(body)
        for part in (
            *(with_summary(text, summary, definitions) for summary in Summary),
            with_elements(text, ["language"], definitions),
        ):
            assert validator.check_body(part) == [], name


# Examples, broken in one place after another.


def test_unknown_element_is_found_wherever_it_is(validator, examples):
    for name, resource in broken_examples(examples):
        for place in objects(resource):
            place["colour"] = "x"
            assert validator.check(resource), name
            del place["colour"]
        assert not validator.check(resource), name


def test_null_is_found_wherever_it_is(validator, examples):
    for name, resource in broken_examples(examples):
        for place in objects(resource):
            for member in list(place):
                kept, place[member] = place[member], None
                assert validator.check(resource), f"{name}: {member}"
                place[member] = kept


def test_array_where_there_is_one_value_and_one_value_where_there_is_an_array(validator, examples):
    for name, resource in broken_examples(examples):
        for place in objects(resource):
            for member in list(place):
                kept = place[member]
                place[member] = kept[0] if type(kept) is list else [kept]
                assert validator.check(resource), f"{name}: {member}"
                place[member] = [] if type(kept) is list else {}
                assert validator.check(resource), f"{name}: {member}"
                place[member] = kept


def test_required_element_is_missed_wherever_it_is(validator, definitions, examples):
    """What each object must have is looked up here by the type's own definition."""
    missed = 0
    for name, resource in broken_examples(examples):
        model = definitions.types[resource["resourceType"]]
        for element in model.elements:
            if element.min > 0 and not element.choice and element.name in resource:
                broken = {key: one for key, one in resource.items() if key != element.name}
                if f"_{element.name}" in broken:
                    continue
                (issue,) = validator.check(broken)
                assert issue.code == "required", name
                assert issue.expression == f"{model.name}.{element.name}"
                missed += 1
    assert missed > 300


def broken_examples(examples: dict[str, bytes]) -> Iterator[tuple[str, Any]]:
    """One valid example of each type and name, for a test to break."""
    seen: dict[str, int] = {}
    for name, body in examples.items():
        type = name.partition("-")[0]
        if name in EXCEPTIONS or len(body) > BROKEN_BYTES_MAX or seen.get(type, 0) >= 3:
            continue
        seen[type] = seen.get(type, 0) + 1
        yield name, copy.deepcopy(msgspec.json.decode(body))


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a resource, itself included."""
    if type(value) is dict:
        yield value
        for item in list(value.values()):
            yield from objects(item)
    elif type(value) is list:
        for item in value:
            yield from objects(item)
