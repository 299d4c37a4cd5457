"""Composite parameters: values that stand together in one element.

The keys of the token components, with the path, stand in place of a path before the ordered last
component; without one they are a posting of their own (see engine.fhir.search.keys).
"""

from collections.abc import Sequence
from itertools import product
from typing import Final

from backends.sqlite.search.comparing import TABLES, test_of
from backends.sqlite.search.dictionary import reference_targets, term_keys
from backends.sqlite.search.ordered import Ordered
from backends.sqlite.search.sets import NOTHING, Postings, Set, any_of
from backends.sqlite.search.view import View
from engine.errors import TooCostly
from engine.fhir.search.tree import Composite, Modifier, Parameter, Reference, Text, Token, Value

KEYS_MAX: Final = 1_000  # of one value: a code without a system may stand in several


def composite_set(view: View, parameter: Parameter, value: Value) -> Set:
    """Those with these values together. Raises TooCostly."""
    assert isinstance(value, Composite)
    ordered = parameter.components[-1].kind in TABLES
    named = value.parts[:-1] if ordered else value.parts
    keys = [
        view.keys.composite(path, parts)
        for place, one in enumerate(parameter.paths)
        if (path := view.path(one.name)) is not None
        for parts in _key_parts(view, parameter, place, named)
    ]
    if len(keys) > KEYS_MAX:
        raise TooCostly(
            f"'{parameter.code}' asks for more than {KEYS_MAX} tokens: give system and code"
        )
    if not keys:
        return NOTHING
    found = tuple(dict.fromkeys(keys))
    if not ordered:
        return any_of([Postings(found)])
    table = TABLES[parameter.components[-1].kind]
    return Ordered(table, found, ((test_of(view, value.parts[-1], Modifier.NONE, found),),))


def _key_parts(
    view: View, parameter: Parameter, place: int, named: Sequence[Value]
) -> list[tuple[int, ...]]:
    """The keys of the components that have no order, in each way they may be meant."""
    ways = []
    for component, value in zip(parameter.components, named, strict=False):
        path = view.path(component.paths[place].name)
        ways.append(_keys_of(view, path, value))
    if any(len(keys) > KEYS_MAX for keys in ways):
        raise TooCostly(f"'{parameter.code}' asks for too many tokens: give system and code")
    return list(product(*ways))


def _keys_of(view: View, path: int | None, value: Value) -> Sequence[int]:
    match value:
        case Reference():
            return reference_targets(view, [value])
        case Token() if path is not None:
            if value.system is not None and value.code is not None:
                return (view.keys.term(path, value.system, value.code),)
            return term_keys(view, (path,), value, keys_max=KEYS_MAX) or ()
        case Text() if path is not None:
            return (view.keys.term(path, "", value.text),)
        case _:
            return ()
