"""From criteria of the query tree to sets of resources. Source: FHIR R4 search.html."""

from collections.abc import Iterable, Sequence

from backends.sqlite.search.comparing import TABLES, test_of
from backends.sqlite.search.composites import composite_set
from backends.sqlite.search.dictionary import (
    pointers,
    reference_sets,
    reference_targets,
    resource_numbers,
    term_keys,
    uri_keys,
    value_set,
)
from backends.sqlite.search.lastupdated import changed_within
from backends.sqlite.search.ordered import Ordered, Valued
from backends.sqlite.search.references import Backward, Forward, Pointed, Pointers, Pointing
from backends.sqlite.search.sets import NOTHING, Dictionary, Explicit, Not, Postings, Set, any_of
from backends.sqlite.search.sizes import solve
from backends.sqlite.search.steps import with_hierarchy
from backends.sqlite.search.view import View
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.keys import IDENTIFIER_SUFFIX, OF_TYPE_SUFFIX
from engine.fhir.search.tree import (
    Chain,
    Compare,
    Compartment,
    Criterion,
    Has,
    Ids,
    Listed,
    Missing,
    Modifier,
    Nothing,
    Parameter,
    ReferenceIdentifier,
    Text,
    Token,
    TypedIdentifier,
    Updated,
    Value,
)


def criteria_sets(view: View, criteria: Iterable[Criterion], types: Sequence[str]) -> list[Set]:
    """One set for each criterion, of which all must hold. Comparisons of one value that no
    resource has twice, such as the two ends of a range of dates, make one set."""
    merged: dict[Parameter, Ordered] = {}
    sets: list[Set] = []
    for criterion in criteria:
        made = criterion_set(view, criterion, types)
        if isinstance(criterion, Compare) and isinstance(made, Ordered) and _single(criterion):
            before = merged.get(criterion.parameter)
            groups = made.groups if before is None else before.groups + made.groups
            merged[criterion.parameter] = Ordered(made.table, made.keys, groups, single=True)
        else:
            sets.append(made)
    return [*merged.values(), *sets]


def criterion_set(view: View, criterion: Criterion, types: Sequence[str]) -> Set:
    """The resources that match one criterion, searched among those of `types` (() is all).

    It may hold resources of other types, where a path is shared by all types.
    """
    match criterion:
        case Compare():
            return _compare(view, criterion)
        case Missing():
            there = valued(view, criterion.parameter)
            return Not(there) if criterion.missing else there
        case ReferenceIdentifier():
            paths = view.paths(criterion.parameter, IDENTIFIER_SUFFIX)
            return any_of([_token(view, paths, value) for value in criterion.values])
        case Chain():
            return any_of(
                [_chained(view, criterion.parameter, *target) for target in criterion.targets]
            )
        case Has():
            return _has(view, criterion)
        case Compartment():
            return _compartment(view, criterion)
        case Listed():
            return _listed(view, criterion)
        case Ids():
            found = Explicit(resource_numbers(view, types, criterion.ids))
            return Not(found) if criterion.negated else found
        case Updated():
            return changed_within(view, criterion.values, types)
        case Nothing():
            return NOTHING


def _single(criterion: Compare) -> bool:
    return len(criterion.parameter.paths) == 1 and criterion.parameter.paths[0].single


# Comparisons.


def _compare(view: View, criterion: Compare) -> Set:
    parameter, values = criterion.parameter, criterion.values
    if parameter.kind is SearchKind.COMPOSITE:
        found = any_of([composite_set(view, parameter, value) for value in values])
    elif parameter.kind in TABLES:
        found = _ordered(view, criterion)
    elif parameter.kind is SearchKind.REFERENCE:
        if criterion.modifier in (Modifier.ABOVE, Modifier.BELOW):
            targets = with_hierarchy(view, reference_targets(view, values), criterion)
            found = pointers(view.paths(parameter), targets)
        else:
            found = reference_sets(view, parameter, values)
    else:
        found = any_of([_equal(view, criterion, value) for value in values])
    return Not(found) if criterion.modifier is Modifier.NOT else found


def _ordered(view: View, criterion: Compare) -> Set:
    table, paths = TABLES[criterion.parameter.kind], view.paths(criterion.parameter)
    if not paths:
        return NOTHING
    tests = tuple(test_of(view, value, criterion.modifier, paths) for value in criterion.values)
    return Ordered(table, paths, (tests,))


def _equal(view: View, criterion: Compare, value: Value) -> Set:
    parameter = criterion.parameter
    match value:
        case Token():
            return _token(view, view.paths(parameter), value)
        case TypedIdentifier():
            paths = view.paths(parameter, OF_TYPE_SUFFIX)
            keys = tuple(
                view.keys.typed_identifier(path, value.system, value.code, value.value)
                for path in paths
            )
            return any_of([Postings(keys)] if keys else [])
        case Text():
            return uri_keys(view, view.paths(parameter), value.text, criterion.modifier)
        case _:
            raise AssertionError(f"{parameter.kind} is not compared with {type(value).__name__}")


def _token(view: View, paths: tuple[int, ...], value: Token) -> Set:
    if not paths:
        return NOTHING
    return value_set(view, paths, value)


# Presence.


def valued(view: View, parameter: Parameter) -> Set:
    """Those with any value of the parameter."""
    paths = view.paths(parameter)
    if parameter.kind in TABLES:
        return Valued(TABLES[parameter.kind], paths) if paths else NOTHING
    if parameter.kind is not SearchKind.REFERENCE:
        return _any_token(view, paths)
    pointing: list[Set] = [Pointing(paths)] if paths else []
    named = _any_token(view, view.paths(parameter, IDENTIFIER_SUFFIX))
    return any_of([*pointing, named])


def _any_token(view: View, paths: tuple[int, ...]) -> Set:
    if not paths:
        return NOTHING
    keys = term_keys(view, paths)
    return Dictionary(paths) if keys is None else any_of([Postings(keys)] if keys else [])


# References.


def _chained(view: View, parameter: Parameter, type: str, criterion: Criterion) -> Set:
    paths, interval = view.reference_paths(parameter, type), view.interval(type)
    if not paths or interval.empty:
        return NOTHING
    inner = solve(view, criterion_set(view, criterion, (type,)), interval)
    if not isinstance(inner, Explicit):
        return Forward(paths, inner, interval)
    return pointers(paths, _target_keys(view, inner.numbers))


def _target_keys(view: View, numbers: Sequence[int]) -> list[int]:
    """The hashes by which references mean these resources."""
    if not numbers:
        return []
    b = view.binder()
    rows = view.run(f"SELECT tkey FROM live WHERE res IN (SELECT value FROM {b.table(numbers)})", b)
    return [tkey for (tkey,) in rows]


def _has(view: View, criterion: Has) -> Set:
    paths, interval = view.paths(criterion.parameter), view.interval(criterion.parameter.type)
    if not paths or interval.empty:
        return NOTHING
    inner = criterion_set(view, criterion.criterion, (criterion.parameter.type,))
    return Backward(paths, solve(view, inner, interval), interval)


def _compartment(view: View, criterion: Compartment) -> Set:
    target = view.keys.target(criterion.type, criterion.id)
    paths = tuple(
        dict.fromkeys(
            path
            for parameter in criterion.parameters
            for path in view.reference_paths(parameter, criterion.type)
        )
    )
    sets: list[Set] = [Pointers(paths, (target,))] if paths else []
    if criterion.itself:
        sets.append(Explicit(resource_numbers(view, (criterion.type,), (criterion.id,))))
    return any_of(sets)


def _listed(view: View, criterion: Listed) -> Set:
    item = view.search.parameter("List", "item")
    found = resource_numbers(view, ("List",), (criterion.id,))
    paths = () if item is None else view.paths(item)
    return Pointed(found[0], paths) if found and paths else NOTHING
