"""Evaluates published expressions with a general FHIRPath library.

Three things of R4 are put differently first: `as` on a list means `ofType` there, which the
library refuses as the later text of FHIRPath does; `Resource` means the type at hand; and one
expression has the type DateTime, which FHIR writes dateTime.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import fhirpathpy
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

_AS_CALL = re.compile(r"\.as\(")
_AS_WORD = re.compile(r"\(\s*([^()]*?)\s+as\s+([A-Za-z]+)\s*\)")
_LITERAL = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[^/]+)?$")


@dataclass(frozen=True)
class Node:
    """A value that an expression gave, with its FHIR type."""

    type: str
    value: Any
    node: Any  # the library's own


def values(type: str, expression: str, root: Any) -> list[Node]:
    """What an expression gives for a resource, or for a node of one.

    `type` is the resource's. The parts of a union are evaluated one by one: the library
    forgets the types of a union's values. Parts for other resource types give nothing.
    """
    found: list[Node] = []
    for part in union(expression):
        if _first_name(part) in _other_types(type):
            continue
        for item in _compiled(_reworded(part, type))(root):
            node = _as_node(item)
            if node is not None:
                found.append(node)
    return found


def union(expression: str) -> Iterator[str]:
    """The parts between the outermost bars."""
    depth, begin, quoted = 0, 0, False
    for at, sign in enumerate(expression):
        if sign == "'":
            quoted = not quoted
        elif not quoted and sign in "()":
            depth += 1 if sign == "(" else -1
        elif not quoted and sign == "|" and depth == 0:
            yield expression[begin:at].strip()
            begin = at + 1
    yield expression[begin:].strip()


def _reworded(part: str, type: str) -> str:
    part = _AS_WORD.sub(r"(\1.ofType(\2))", _AS_CALL.sub(".ofType(", part))
    part = part.replace("ofType(DateTime)", "ofType(dateTime)")
    return re.sub(r"\b(?:Resource|DomainResource)\.", f"{type}.", part)


def _first_name(part: str) -> str:
    name = re.match(r"[(\s]*([A-Za-z]+)", part)
    return name.group(1) if name else ""


@cache
def _other_types(type: str) -> frozenset[str]:
    from tests.oracle.published import specification

    return specification().resource_types - {type}


def _resolved(nodes: Sequence[Any]) -> list[Any]:
    """`resolve()`: what a reference says of its target, which is its type."""
    found = []
    for node in nodes:
        data = getattr(node, "data", node)
        text = data.get("reference") if isinstance(data, dict) else data
        literal = _LITERAL.search(text) if isinstance(text, str) else None
        type = literal.group(1) if literal else ""
        if not type and isinstance(data, dict):
            type = data.get("type", "")
        if type:
            found.append(ResourceNode.create_node({"resourceType": type}, type))
    return found


def _has_extension(nodes: Sequence[Any], url: str) -> list[bool]:
    """`hasExtension()`, which FHIR adds to FHIRPath."""
    data = [getattr(node, "data", node) for node in nodes]
    extensions = [
        one for each in data if isinstance(each, dict) for one in each.get("extension", ())
    ]
    return [any(one.get("url") == url for one in extensions)]


_OPTIONS = {
    "returnRawData": True,
    "userInvocationTable": {
        "resolve": {"fn": _resolved, "arity": {0: []}},
        "hasExtension": {"fn": _has_extension, "arity": {1: ["String"]}},
    },
}


@cache
def _compiled(expression: str) -> Any:
    return fhirpathpy.compile(expression, models["r4"], _OPTIONS)


def _as_node(item: Any) -> Node | None:
    data = getattr(item, "data", item)
    if data is None or (isinstance(data, dict) and set(data) <= {"extension", "id"}):
        return None  # a primitive that has extensions and no value
    if isinstance(item, bool):
        return Node("boolean", item, item)
    return Node(str(getattr(item, "path", "") or ""), data, item)
