"""What compiled paths find is what a general FHIRPath library finds, over R4's own examples.

All of its 5,300 resources and every search parameter, within half a minute. Values are compared
as JSON, before rows are made of them; where the library cannot do what the specification says,
the expression is written in another way, never the value changed.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import fhirpathpy
import msgspec
import pytest
from fhirpathpy.models import models

from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import SearchKind, SearchParameter
from engine.fhir.search.expressions import Chain
from engine.fhir.search.registry import Release
from engine.fhir.search.walk import Sink, Walk
from tests.support.package import r4_resources

ABSTRACT = ("Resource", "DomainResource")
# `as` of several values is an error in FHIRPath, and filters in search parameters.
AS = (re.compile(r"\(([\w.]+) as (\w+)\)"), re.compile(r"([\w.]+)\.as\((\w+)\)"))
EXTENDED = re.compile(r"hasExtension\(('[^']+')\)")  # the library does not know it
RESOLVED = re.compile(r"\.where\(resolve\(\) is \w+\)")

# Published with a type that does not exist: `value.as(DateTime)` must mean dateTime.
MISSPELLED = "DateTime"
# The published components of these need the whole resource, or compare two ordered values.
WITHOUT_COMPARISON = frozenset(
    (
        "chromosome-variant-coordinate",
        "referenceseqid-variant-coordinate",
    )
)


@cache
def release() -> Release:
    return Release(load_definitions())


@cache
def compiled(expression: str) -> Callable[[Any], list[Any]]:
    return fhirpathpy.compile(expression, models["r4"])


def parts(expression: str) -> list[str]:
    """Of a union. No published expression has one inside of brackets."""
    found = [part.strip() for part in expression.split("|")]
    assert all(part.count("(") == part.count(")") for part in found)
    return found


def parts_for(expression: str, type: str) -> Iterator[str]:
    """The parts that speak of a type, with it as root. To find what a reference points to is
    left out: it is compared by rows, in test_extraction."""
    for part in parts(expression):
        root, dot, rest = part.lstrip("(").partition(".")
        brackets = part[: len(part) - len(part.lstrip("("))]
        if root in ABSTRACT:
            root = type
        elif root in release().types and root != type:
            continue
        yield RESOLVED.sub("", f"{brackets}{root}{dot}{rest}")


def filtering(expression: str) -> str:
    for spelled in AS:
        expression = spelled.sub(r"\1.where($this is \2)", expression)
    expression = EXTENDED.sub(r"extension(\1).exists()", expression)
    return expression.replace(MISSPELLED, "dateTime")


def expected_expressions(parameter: SearchParameter, type: str) -> list[str]:
    bases = list(parts_for(parameter.expression, type))
    if parameter.kind is not SearchKind.COMPOSITE:
        return [filtering(base) for base in bases]
    return [
        filtering(f"{base}.{part}")
        for base in bases
        for component in parameter.components
        for part in parts(component.expression)
    ]


def compiled_chains(parameter: SearchParameter, type: str) -> Iterator[Chain]:
    expressions = release().expressions
    for path in expressions.paths(parameter.expression, type):
        if parameter.kind is not SearchKind.COMPOSITE:
            yield from path.chains
            continue
        (base,) = path.chains
        for component in parameter.components:
            for relative in expressions.below(component.expression, path):
                for chain in relative.chains:
                    yield Chain((*base.steps, *chain.steps), chain.type, False)


def published(type: str) -> list[SearchParameter]:
    """Of a type, with those of all types."""
    bases = {type, *ABSTRACT}
    return [
        parameter
        for parameter in release().definitions.parameters
        if not bases.isdisjoint(parameter.base) and parameter.code not in WITHOUT_COMPARISON
    ]


@cache
def walk_of(type: str) -> Sink:
    """Finds the values of every parameter, by its code."""

    def sink_of(url: str) -> Sink:
        return lambda value, found: found.setdefault(url, []).append(value)

    walk = Walk()
    for parameter in published(type):
        for chain in compiled_chains(parameter, type):
            walk.add(chain, sink_of(parameter.url))
    return walk.compiled()


def canonical(values: list[Any]) -> list[str]:
    """Values in a form to be compared: each once, numbers by value."""
    return sorted({json.dumps(value, sort_keys=True, default=float) for value in values})


def test_compiled_paths_find_what_a_fhirpath_library_finds():
    differing: list[str] = []
    compared: Counter[str] = Counter()
    for name, body in r4_resources():
        resource = msgspec.json.decode(body)
        type = resource["resourceType"]
        found: dict[str, list[Any]] = {}
        walk_of(type)(resource, found)
        for parameter in published(type):
            wanted = canonical(
                [
                    value
                    for expression in expected_expressions(parameter, type)
                    for value in compiled(expression)(resource)
                ]
            )
            compared[parameter.code] += len(wanted)
            if canonical(found.get(parameter.url, [])) != wanted:
                differing.append(f"{name}: {parameter.url}")
    assert not differing, differing[:20]
    assert compared.total() > 130_000
    assert sum(map(bool, compared.values())) > 400  # of some 450 codes; others are in no example


@pytest.mark.parametrize("code", sorted(WITHOUT_COMPARISON))
def test_what_is_not_compared_is_refused(code):
    assert code in release().plan("MolecularSequence").refused
