"""Answers a search from its query string, the slow and obvious way.

Shares nothing with the engine but the published definitions: it looks at every resource, takes
its values with a general FHIRPath library, and compares them by `matching`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from fractions import Fraction
from functools import cmp_to_key
from typing import Any
from urllib.parse import parse_qsl

from tests.oracle import matching
from tests.oracle.fhirpath import Node, values
from tests.oracle.matching import Malformed, Surroundings
from tests.oracle.published import Published, specification
from tests.oracle.spans import Span
from tests.oracle.world import Resource, World

RESULT_PARAMETERS = frozenset({"_sort", "_count", "_include", "_revinclude", "_total", "_type"})
HIERARCHIES = frozenset({"partof", "part-of", "parent"})


class Unknown(Exception):
    """There is no such parameter here."""


@dataclass(frozen=True)
class Request:
    """One search: what stands before the question mark, and what after it."""

    types: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    compartment: tuple[str, str] | None = None


def request(text: str) -> Request:
    """`Observation?code=1`, `Patient/p1/Observation?code=1`, `Patient/p1/*?...` or `?_type=...`."""
    path, _, query = text.partition("?")
    pairs = tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    steps = [step for step in path.split("/") if step]
    types = tuple(one for name, value in pairs if name == "_type" for one in value.split(","))
    if steps and steps[-1] != "*":
        types = (steps[-1],)
    return Request(types, pairs, (steps[0], steps[1]) if len(steps) == 3 else None)


def split(text: str, at: str) -> list[str]:
    """The pieces between separators that no backslash stands before; escapes stay."""
    pieces, piece, signs = [], "", iter(text)
    for sign in signs:
        if sign == "\\":
            piece += sign + next(signs, "")
        elif sign == at:
            pieces.append(piece)
            piece = ""
        else:
            piece += sign
    return [*pieces, piece]


def _rule(value: str) -> tuple[str, str, str]:
    """Source, parameter and target of an include; "" for any source or target."""
    if value == "*":
        return "", "*", ""
    source, code, *target = value.split(":")
    return source, code, target[0] if target else ""


def unescaped(text: str) -> str:
    plain, signs = "", iter(text)
    for sign in signs:
        plain += next(signs, "") if sign == "\\" else sign
    return plain


class Oracle:
    """Knows what a search over these resources must find."""

    def __init__(self, world: World, *, base: str, now_ms: int, zone: tzinfo = UTC) -> None:
        self._world = world
        self._around = Surroundings(base, Fraction(now_ms, 1000), zone)
        self._specification = specification()

    # Searches.

    def search(self, text: str) -> list[str]:
        """`Type/id` of all that match, in the order that `_sort` asks for; without it in the
        order of creation. Raises Unknown, Malformed."""
        asked = request(text)
        found = [
            one
            for one in self._world.of_types(asked.types)
            if self._in_compartment(one, asked.compartment)
            and all(
                self.matches(one, name, value)
                for name, value in asked.pairs
                if name.split(":")[0] not in RESULT_PARAMETERS
            )
        ]
        for name, value in asked.pairs:
            if name == "_sort":
                found = self._sorted(found, value)
        return [one.key for one in found]

    def included(self, text: str, found: Sequence[str]) -> set[str]:
        """`Type/id` of what the query includes beside these matches."""
        asked = request(text)
        matches = [one for key in found if (one := self._world.find(*key.split("/")))]
        rules = [
            (name.split(":")[0], ":iterate" in name, value)
            for name, value in asked.pairs
            if name.split(":")[0] in ("_include", "_revinclude")
        ]
        have = {one.key: one for one in matches}
        first = True
        edge = list(matches)
        while edge:
            new: dict[str, Resource] = {}
            for name, iterates, value in rules:
                if first or iterates:
                    step = self._forward if name == "_include" else self._backward
                    new |= {one.key: one for one in step(value, edge) if one.key not in have}
            have |= new
            edge, first = list(new.values()), False
        return set(have) - {one.key for one in matches}

    def _forward(self, value: str, edge: Sequence[Resource]) -> list[Resource]:
        found = []
        source, code, target = _rule(value)
        for one in edge:
            if source and one.type != source:
                continue
            for parameter in self._references(one.type, code):
                for node in one.values(parameter):
                    hit = self._live(node)
                    if hit is not None and (not target or hit.type == target):
                        found.append(hit)
        return found

    def _backward(self, value: str, edge: Sequence[Resource]) -> list[Resource]:
        source, code, target = _rule(value)
        keys = {one.key for one in edge if not target or one.type == target}
        return [
            one
            for one in self._world.of_type(source)
            for parameter in self._references(source, code)
            if any(hit and hit.key in keys for hit in map(self._live, one.values(parameter)))
        ]

    def _references(self, type: str, code: str) -> list[Published]:
        codes = self._specification.codes(type) if code == "*" else [code]
        found = [self._parameter(type, one) for one in codes]
        return [one for one in found if one.kind == "reference"]

    # One criterion on one resource.

    def matches(self, resource: Resource, name: str, value: str) -> bool:
        """Whether a resource meets one `name=value`, with chains and modifiers in its name."""
        if name.startswith("_has:"):
            _, type, code, rest = name.split(":", 3)
            return self._has(resource, type, code, rest, value)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        if code in ("_id", "_lastUpdated", "_list"):
            return self._special(resource, code, modifier, value)
        parameter = self._parameter(resource.type, code)
        if dot:
            return self._chained(resource, parameter, modifier, rest, value)
        if modifier == "missing":
            return (value == "true") == (not self._has_value(resource, parameter))
        wanted = split(value, ",")
        if modifier == "not":
            return not any(self._matches(resource, parameter, "", one) for one in wanted)
        return any(self._matches(resource, parameter, modifier, one) for one in wanted)

    def _parameter(self, type: str, code: str) -> Published:
        found = self._specification.parameter(type, code)
        if found is None:
            raise Unknown(f"{type}: {code}")
        return found

    def _has(self, resource: Resource, type: str, code: str, rest: str, value: str) -> bool:
        parameter = self._parameter(type, code)
        return any(
            self.matches(other, rest, value)
            for other in self._world.of_type(type)
            if any(self._live(node) is resource for node in other.values(parameter))
        )

    def _chained(
        self, resource: Resource, parameter: Published, type: str, rest: str, value: str
    ) -> bool:
        types = frozenset({type}) if type else self._specification.targets(parameter)
        first = rest.split(".")[0].split(":")[0]
        for node in resource.values(parameter):
            hit = self._live(node)
            if hit is None or hit.type not in types:
                continue
            known = first == "_has" or self._specification.parameter(hit.type, first) is not None
            if (known or first == "_list") and self.matches(hit, rest, value):
                return True
        return False

    def _live(self, node: Node) -> Resource | None:
        """The live resource that a reference points to."""
        target = matching.target(node, self._around)
        return self._world.find(target.type, target.id) if target and target.id else None

    def _special(self, resource: Resource, code: str, modifier: str, value: str) -> bool:
        wanted = split(value, ",")
        if modifier == "missing":
            return value == "false"
        if code == "_id":
            return (resource.id in wanted) != (modifier == "not")
        if code == "_list":
            listed = self._world.find("List", value)
            entries = listed.body.get("entry", ()) if listed else ()
            items = [Node("Reference", one.get("item", {}), None) for one in entries]
            return any(self._live(item) is resource for item in items)
        updated = Fraction(resource.updated_ms, 1000)
        span = Span(updated, updated + Fraction(1, 1000))
        return any(matching.date_matches(span, one, self._around) for one in wanted)

    def _in_compartment(self, resource: Resource, compartment: tuple[str, str] | None) -> bool:
        if compartment is None:
            return True
        codes = self._specification.compartment(compartment[0]).get(resource.type, ())
        for code in codes:
            if code == "{def}":
                if (resource.type, resource.id) == compartment:
                    return True
                continue
            for node in resource.values(self._parameter(resource.type, code)):
                target = matching.target(node, self._around)
                if target and (target.type, target.id) == compartment:
                    return True
        return False

    # One value of the query on one parameter.

    def _has_value(self, resource: Resource, parameter: Published) -> bool:
        nodes = resource.values(parameter)
        looks: dict[str, Callable[[Node], Any]] = {
            "string": matching.strings,
            "token": matching.tokens,
            "number": matching.numbers,
            "quantity": matching.amounts,
            "date": lambda node: matching.dates(node, self._around),
            "uri": lambda node: [node.value],
            "reference": self._said,
        }
        return any(list(looks[parameter.kind](node)) for node in nodes)

    def _said(self, node: Node) -> list[object]:
        """What of a reference can be compared: where it points, or its own identifier."""
        own = node.value.get("identifier") if isinstance(node.value, dict) else None
        said = [matching.target(node, self._around), own]
        return [one for one in said if one]

    def _matches(
        self, resource: Resource, parameter: Published, modifier: str, wanted: str
    ) -> bool:
        nodes = resource.values(parameter)
        if parameter.kind == "composite":
            return any(self._composite(resource.type, parameter, one, wanted) for one in nodes)
        if parameter.kind == "reference" and modifier in ("above", "below"):
            return self._along(nodes, parameter, modifier, unescaped(wanted))
        return any(self._node_matches(parameter, one, modifier, wanted) for one in nodes)

    def _node_matches(self, parameter: Published, node: Node, modifier: str, wanted: str) -> bool:
        parts = [unescaped(part) for part in split(wanted, "|")]
        plain = unescaped(wanted)
        match parameter.kind:
            case "string":
                return matching.string_matches(node, plain, modifier)
            case "token":
                if modifier == "of-type":
                    return matching.typed_identifier_matches(node, parts)
                return matching.token_matches(node, parts)
            case "number":
                return any(matching.number_matches(one, plain) for one in matching.numbers(node))
            case "quantity":
                return any(matching.amount_matches(one, parts) for one in matching.amounts(node))
            case "date":
                spans = matching.dates(node, self._around)
                return any(matching.date_matches(one, plain, self._around) for one in spans)
            case "uri":
                return matching.uri_matches(node, plain, modifier)
            case "reference" if modifier == "identifier":
                own = node.value.get("identifier") if isinstance(node.value, dict) else None
                return own is not None and matching.token_matches(
                    Node("Identifier", own, None), parts
                )
            case "reference":
                types = self._specification.targets(parameter)
                types = frozenset({modifier}) if modifier else types
                return matching.reference_matches(node, plain, types, self._around)
        raise Malformed(f"{parameter.code} is of a kind without rules: {parameter.kind}")

    def _composite(self, type: str, parameter: Published, node: Node, wanted: str) -> bool:
        """Each component on the same element."""
        pieces = split(wanted, "$")
        if len(pieces) != len(parameter.components):
            raise Malformed(wanted)
        for component, piece in zip(parameter.components, pieces, strict=True):
            meant = self._specification.component(parameter, component)
            nodes = values(type, component.expression, node.node)
            if not any(self._node_matches(meant, one, "", piece) for one in nodes):
                return False
        return True

    def _along(
        self, nodes: Sequence[Node], parameter: Published, modifier: str, wanted: str
    ) -> bool:
        """`:below`: points to this one or to a part of it; `:above`: or to what it is part of."""
        types = self._specification.targets(parameter)
        named = matching.target_of(wanted, self._around)
        starts = (
            [(named.type, named.id)] if named and named.id else [(type, wanted) for type in types]
        )
        allowed: set[tuple[str, str]] = set()
        for start in starts:
            allowed |= self._hierarchy(start, modifier)
        return not allowed.isdisjoint(map(self._place_of, nodes))

    def _place_of(self, node: Node) -> tuple[str, str]:
        """Where a reference points: type and id, or no type and an address."""
        target = matching.target(node, self._around)
        return (target.type, target.id or target.url) if target else ("", "")

    def _hierarchy(self, start: tuple[str, str], modifier: str) -> set[tuple[str, str]]:
        reached, edge = {start}, [start]
        while edge:
            steps = self._parents(edge) if modifier == "above" else self._children(edge)
            edge = [one for one in steps if one not in reached]
            reached |= set(edge)
        return reached

    def _parents(self, edge: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for type, id in edge:
            resource = self._world.find(type, id)
            for parameter in self._upward(type) if resource else ():
                assert resource is not None
                found |= {self._place_of(node) for node in resource.values(parameter)}
        return {place for place in found if place[1]}

    def _children(self, edge: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        types = {type for type, _ in edge}
        return {
            (one.type, one.id)
            for type in types
            for one in self._world.of_type(type)
            if self._parents([(one.type, one.id)]) & set(edge)
        }

    def _upward(self, type: str) -> list[Published]:
        """The parameters that name what a resource of this type is a part of."""
        codes = [one for one in self._specification.codes(type) if one in HIERARCHIES]
        found = [self._parameter(type, one) for one in codes]
        return [one for one in found if type in self._specification.targets(one)]

    # Order.

    def _sorted(self, found: list[Resource], rule: str) -> list[Resource]:
        keys = [(part.lstrip("-"), part.startswith("-")) for part in rule.split(",")]

        def compared(one: Resource, other: Resource) -> int:
            for code, down in keys:
                a, b = self._place(one, code, down), self._place(other, code, down)
                if a == b:
                    continue
                if a is None or b is None:
                    return 1 if a is None else -1  # without a value: last, in both directions
                return (-1 if a < b else 1) * (-1 if down else 1)
            return -1 if one.number < other.number else 1

        return sorted(found, key=cmp_to_key(compared))

    def _place(self, resource: Resource, code: str, down: bool) -> Any:
        if code == "_id":
            return resource.id
        if code == "_lastUpdated":
            return resource.updated_ms
        parameter = self._parameter(resource.type, code)
        places = [
            place for node in resource.values(parameter) for place in self._places(parameter, node)
        ]
        if not places:
            return None
        return max(places) if down else min(places)

    def _places(self, parameter: Published, node: Node) -> list[Any]:
        match parameter.kind:
            case "string":
                return [matching.normalized(one) for one in matching.strings(node)]
            case "token":
                return [(one.compared, one.system or "") for one in matching.tokens(node)]
            case "number":
                return [low for low, _ in matching.numbers(node)]
            case "quantity":
                return [one.low for one in matching.amounts(node)]
            case "date":
                return [one.lo for one in matching.dates(node, self._around)]
            case "uri":
                return [node.value]
        raise Malformed(f"no order by {parameter.kind}")
