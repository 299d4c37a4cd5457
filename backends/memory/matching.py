"""Whether a resource matches a query: the model's way, by the rows of every body, without an
index. Source: FHIR R4 search.html.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.keys import IDENTIFIER_SUFFIX, OF_TYPE_SUFFIX, Keys
from engine.fhir.search.rows import Rows, Unit
from engine.fhir.search.tree import (
    Chain,
    Compare,
    Compartment,
    Composite,
    Criterion,
    Has,
    Ids,
    Instant,
    Listed,
    Missing,
    Modifier,
    Nothing,
    Number,
    Parameter,
    Prefix,
    Quantity,
    Reference,
    ReferenceIdentifier,
    Text,
    Token,
    TypedIdentifier,
    Updated,
    Value,
)
from engine.fhir.search.values import normalize, written
from engine.model import Version

_ORDERED = {
    SearchKind.STRING: "strings",
    SearchKind.DATE: "dates",
    SearchKind.NUMBER: "numbers",
    SearchKind.QUANTITY: "quantities",
}


@dataclass(frozen=True, eq=False)
class Resource:
    """One live resource."""

    res: int  # rid of its first version
    seq: int  # of its current one
    version: Version
    key: int  # by which references mean it
    search: SearchDefinitions

    @cached_property
    def rows(self) -> Rows:
        """What it says."""
        assert self.version.body is not None
        return self.search.rows(self.version.type, self.version.body)


class Matcher:
    """Looks at one state of a store."""

    def __init__(
        self, resources: Sequence[Resource], numbers: Mapping[str, int], keys: Keys
    ) -> None:
        self.resources = resources
        self._numbers = numbers
        self._keys = keys
        self._by_key = {resource.key: resource for resource in resources}

    def paths(self, parameter: Parameter, suffix: str = "") -> set[int]:
        """Numbers of a parameter's paths."""
        names = (path.name + suffix for path in parameter.paths)
        return {self._numbers[name] for name in names if name in self._numbers}

    def targets(self, resource: Resource, parameter: Parameter) -> Iterator[Resource]:
        """The live resources that it points to by a parameter."""
        paths = self.paths(parameter)
        for path, target in resource.rows.references:
            if path in paths and target in self._by_key:
                yield self._by_key[target]

    def matches(self, resource: Resource, criterion: Criterion) -> bool:
        """Whether a resource matches a criterion, its type left aside."""
        match criterion:
            case Compare():
                return self._compare(resource, criterion)
            case Missing():
                return self._has_value(resource, criterion.parameter) is not criterion.missing
            case ReferenceIdentifier():
                paths = self.paths(criterion.parameter, IDENTIFIER_SUFFIX)
                return any(self._token(resource, paths, value) for value in criterion.values)
            case Chain():
                return any(
                    target.version.type == type and self.matches(target, inner)
                    for target in self.targets(resource, criterion.parameter)
                    for type, inner in criterion.targets
                )
            case Has():
                return any(
                    other.version.type == criterion.parameter.type
                    and resource in self.targets(other, criterion.parameter)
                    and self.matches(other, criterion.criterion)
                    for other in self.resources
                )
            case Compartment():
                return self._in_compartment(resource, criterion)
            case Listed():
                return self._listed(resource, criterion)
            case Ids():
                return (resource.version.id in criterion.ids) is not criterion.negated
            case Updated():
                since = resource.version.updated_ms
                return any(_in_time(since, since + 1, value) for value in criterion.values)
            case Nothing():
                return False

    # Comparisons.

    def _compare(self, resource: Resource, criterion: Compare) -> bool:
        if criterion.hierarchy:
            return self._along(resource, criterion)
        found = any(self._value(resource, criterion, value) for value in criterion.values)
        return found is not (criterion.modifier is Modifier.NOT)

    def _value(self, resource: Resource, criterion: Compare, value: Value) -> bool:
        parameter, rows = criterion.parameter, resource.rows
        paths = self.paths(parameter)
        if parameter.kind in _ORDERED:
            return self._ordered(rows, parameter.kind, paths, value, criterion.modifier)
        match value:
            case Token():
                return self._token(resource, paths, value)
            case TypedIdentifier():
                return any(
                    self._keys.typed_identifier(path, value.system, value.code, value.value)
                    in rows.tokens
                    for path in self.paths(parameter, OF_TYPE_SUFFIX)
                )
            case Reference():
                wanted = self._reference_keys(value)
                return any(p in paths and target in wanted for p, target in rows.references)
            case Composite():
                return self._composite(rows, parameter, value)
            case Text():
                return any(
                    term.path in paths and _is_uri(term.code, value.text, criterion.modifier)
                    for term in rows.terms
                )
            case _:
                raise AssertionError(value)

    def _ordered(
        self, rows: Rows, kind: SearchKind, keys: set[int], value: Value, modifier: Modifier
    ) -> bool:
        found = (row for row in getattr(rows, _ORDERED[kind]) if row[0] in keys)
        match value:
            case Text():
                return any(_is_string(row[1], row[2], value.text, modifier) for row in found)
            case Instant():
                return any(_in_time(row[1], row[2], value) for row in found)
            case Number():
                return any(_is_number(row[1], value) for row in found)
            case Quantity():
                units = {unit.u: unit for unit in rows.units}
                return any(
                    _is_number(row[2], value.number) and _is_unit(units[row[1]], value)
                    for row in found
                )
            case _:
                raise AssertionError(value)

    def _token(self, resource: Resource, paths: set[int], value: Token) -> bool:
        return any(
            term.path in paths and _is_token(term.system, term.code, value)
            for term in resource.rows.terms
        )

    def _reference_keys(self, value: Reference) -> set[int]:
        keys = {self._keys.target(type, value.id) for type in value.types}
        if value.url:
            version = f"|{value.version}" if value.version else ""
            keys.add(self._keys.url(value.url + version))
        return keys

    def _composite(self, rows: Rows, parameter: Parameter, value: Composite) -> bool:
        last = parameter.components[-1].kind
        named = value.parts[:-1] if last in _ORDERED else value.parts
        for place, path in enumerate(parameter.paths):
            ways = [
                self._component_keys(rows, component.paths[place].name, part)
                for component, part in zip(parameter.components, named, strict=False)
            ]
            keys = {
                self._keys.composite(self._numbers[path.name], parts) for parts in product(*ways)
            }
            if last not in _ORDERED:
                if not keys.isdisjoint(rows.tokens):
                    return True
            elif self._ordered(rows, last, keys, value.parts[-1], Modifier.NONE):
                return True
        return False

    def _component_keys(self, rows: Rows, path: str, part: Value) -> set[int]:
        if isinstance(part, Reference):
            return self._reference_keys(part)
        token = Token("", part.text) if isinstance(part, Text) else part
        assert isinstance(token, Token)
        return {
            term.k
            for term in rows.terms
            if term.path == self._numbers[path] and _is_token(term.system, term.code, token)
        }

    def _has_value(self, resource: Resource, parameter: Parameter) -> bool:
        rows, paths = resource.rows, self.paths(parameter)
        if parameter.kind in _ORDERED:
            return any(row[0] in paths for row in getattr(rows, _ORDERED[parameter.kind]))
        if parameter.kind is SearchKind.REFERENCE:
            if any(path in paths for path, _ in rows.references):
                return True
            paths = self.paths(parameter, IDENTIFIER_SUFFIX)
        return any(term.path in paths for term in rows.terms)

    # References.

    def _along(self, resource: Resource, criterion: Compare) -> bool:
        """`:above` and `:below`: the target is one of those named, or stands over or under it."""
        named: set[int] = set()
        for value in criterion.values:
            assert isinstance(value, Reference)
            named |= self._reference_keys(value)
        if criterion.modifier is Modifier.ABOVE:
            wanted = self._reached(named, criterion.hierarchy)
            return self._points_to(resource, criterion.parameter, wanted)
        below = named | {
            other.key
            for other in self.resources
            if self._reached({other.key}, criterion.hierarchy) & named
        }
        return self._points_to(resource, criterion.parameter, below)

    def _points_to(self, resource: Resource, parameter: Parameter, wanted: set[int]) -> bool:
        paths = self.paths(parameter)
        return any(p in paths and target in wanted for p, target in resource.rows.references)

    def _reached(self, keys: set[int], hierarchy: Sequence[Parameter]) -> set[int]:
        """These, and all that is reached from them step by step."""
        paths = {path for parameter in hierarchy for path in self.paths(parameter)}
        reached, new = set(keys), set(keys)
        while new:
            there = (self._by_key[key] for key in new if key in self._by_key)
            new = {
                target
                for resource in there
                for path, target in resource.rows.references
                if path in paths
            } - reached
            reached |= new
        return reached

    def _in_compartment(self, resource: Resource, criterion: Compartment) -> bool:
        key = self._keys.target(criterion.type, criterion.id)
        if criterion.itself and resource.key == key:
            return True
        return any(
            self._points_to(resource, parameter, {key}) for parameter in criterion.parameters
        )

    def _listed(self, resource: Resource, criterion: Listed) -> bool:
        one = self._by_key.get(self._keys.target("List", criterion.id))
        if one is None:
            return False
        item = one.search.parameter("List", "item")
        return item is not None and resource in self.targets(one, item)


# Values.


def _is_token(system: str, code: str, wanted: Token) -> bool:
    return (wanted.system is None or system == wanted.system) and (
        wanted.code is None or code == wanted.code
    )


def _is_uri(uri: str, wanted: str, modifier: Modifier) -> bool:
    if modifier is Modifier.BELOW:
        return uri == wanted or uri.startswith(wanted.rstrip("/") + "/")
    if modifier is Modifier.ABOVE:
        return uri == wanted or ("://" in uri and wanted.startswith(uri.rstrip("/") + "/"))
    return uri == wanted


def _is_string(normalized: str, as_written: str, wanted: str, modifier: Modifier) -> bool:
    if modifier is Modifier.EXACT:
        return as_written == written(wanted)
    if modifier is Modifier.CONTAINS:
        return normalize(wanted) in normalized
    return normalized.startswith(normalize(wanted))


def _in_time(lo: int, hi: int, wanted: Instant) -> bool:
    """Ranges of time, both half-open (search.html#date)."""
    first, end = wanted.lo_ms, wanted.hi_ms
    inside = first <= lo and hi <= end
    return {
        Prefix.EQ: inside,
        Prefix.NE: not inside,
        Prefix.GT: hi > end,
        Prefix.LT: lo < first,
        Prefix.GE: hi > end or inside,
        Prefix.LE: lo < first or inside,
        Prefix.SA: lo >= end,
        Prefix.EB: hi <= first,
        Prefix.AP: lo < end and hi > first,
    }[wanted.prefix]


def _is_number(value: float, wanted: Number) -> bool:
    inside = wanted.lo <= value < wanted.hi
    return {
        Prefix.EQ: inside,
        Prefix.NE: not inside,
        Prefix.GT: value > wanted.value,
        Prefix.LT: value < wanted.value,
        Prefix.GE: value >= wanted.value,
        Prefix.LE: value <= wanted.value,
        Prefix.SA: value > wanted.value,
        Prefix.EB: value < wanted.value,
        Prefix.AP: inside,
    }[wanted.prefix]


def _is_unit(unit: Unit, wanted: Quantity) -> bool:
    if wanted.system is not None:
        return unit.system == wanted.system and wanted.unit in (None, unit.code)
    return wanted.unit is None or wanted.unit in (unit.code, unit.unit)
