"""The oracle owes nothing to what it judges, and what it is given is sound."""

import ast
import json
from pathlib import Path

import msgspec
import pytest

from engine.fhir.validate import Validator
from tests.oracle.any_type import AnyType, all_types, definitions
from tests.oracle.hand_written import steps
from tests.oracle.published import specification
from tests.support.fhir_data import Generator, Step
from tests.support.package import r4_package

HERE = Path(__file__).parent
# What knows the answers, and what asks: of the engine they may have the definitions alone.
JUDGES = (
    *("oracle", "matching", "spans", "fhirpath", "published", "world"),
    *("queries", "any_type", "hand_written"),
)
ALLOWED = {"engine.fhir.definitions.load", "engine.fhir.definitions.model"}
EXAMPLE = "/SearchParameter/example"
# A choice or an element whose only values are of no use here is left out, though it is required.
ODD = ("is required", "must be a resource")
ODD_MAX = 25


def imported(path: Path) -> set[str]:
    """Modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages = ("tests.oracle", "tests.support")  # of which modules are imported
            inner = node.module in packages
            found |= {f"{node.module}.{one.name}" if inner else node.module for one in node.names}
    return found


@pytest.mark.parametrize("judge", JUDGES)
def test_the_oracle_shares_nothing_with_the_engine_but_the_definitions(judge):
    names = imported(HERE / f"{judge}.py")
    ours = {one for one in names if one.split(".")[0] in ("engine", "backends", "web")}
    assert ours <= ALLOWED
    known = {f"tests.oracle.{one}" for one in JUDGES} | {"tests.support.fhir_data"}
    assert {one for one in names if one.startswith("tests.")} <= known


def test_the_oracle_reads_the_parameters_as_they_are_published():
    published = specification()
    different = []
    for path in sorted(r4_package().glob("SearchParameter-*.json")):
        resource = json.loads(path.read_bytes())
        if "expression" not in resource or EXAMPLE in resource["url"]:
            continue  # without rules of its own, or no part of the specification
        one = published.by_url.get(resource["url"])
        if one is None:
            different.append(resource["url"])
            continue
        parts = tuple(
            (part["definition"], part["expression"]) for part in resource.get("component", ())
        )
        same = (
            (one.code, one.kind, one.expression)
            == (resource["code"], resource["type"], resource.get("expression", ""))
            and sorted(one.base) == sorted(resource["base"])
            and tuple((part.definition, part.expression) for part in one.components) == parts
        )
        if not same:
            different.append(resource["url"])
    assert len(published.by_url) > 1300
    assert different == []


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_generated_is_valid_and_the_same_for_the_same_seed(seed):
    first = list(Generator(seed).steps())
    assert first == list(Generator(seed).steps())
    assert faults(first) == []
    assert any(step.body is None for step in first)


def test_the_hand_written_resources_are_valid():
    assert faults(list(steps())) == []


def test_resources_of_every_type_are_valid_but_for_a_few():
    every = list(AnyType(1, all_types()).steps())
    assert {step.type for step in every} == set(all_types())
    found = faults(every)
    assert len(found) <= ODD_MAX
    assert all(any(odd in fault for odd in ODD) for fault in found)


def faults(steps: list[Step]) -> list[str]:
    """What a validator says."""
    validator = Validator(definitions())
    return [
        f"{issue.expression}: {issue.diagnostics}"
        for step in steps
        if step.body is not None
        for issue in validator.check(msgspec.json.decode(step.body))
    ]
