"""Result parameters: not what is found, but in which order, how much of it and in which form.

Source: FHIR R4 search.html, "Managing Returned Resources".
"""

import enum
import re

import msgspec

from engine.errors import BadParameter, NotSupported, TooCostly, UnknownParameter, WithoutEffect
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.scope import Scope, shown
from engine.fhir.search.tree import SortKey

CURSOR = "_cursor"  # ours: where a page begins, in the links of the page before
SORT = "_sort"

SORT_KEYS_MAX = 8
ELEMENTS_MAX = 200

_ELEMENT = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}(?:\.[a-z][A-Za-z0-9]{0,63}){0,8}")
_COUNT_DIGITS_MAX = 18  # longer ones are over every maximum

# Neither has one value a resource could stand at: a reference is known by its hash, and the
# order of hashes says nothing.
_UNSORTABLE = frozenset({SearchKind.REFERENCE, SearchKind.COMPOSITE, SearchKind.SPECIAL})


class Total(enum.StrEnum):
    """`_total`: whether the number of all matches is told."""

    NONE = "none"
    ESTIMATE = "estimate"
    ACCURATE = "accurate"


class Summary(enum.StrEnum):
    """`_summary`: which part of each resource is told."""

    TRUE = "true"
    TEXT = "text"
    DATA = "data"
    COUNT = "count"
    FALSE = "false"


class ResultParameters(msgspec.Struct, frozen=True, kw_only=True):
    """All of them as they were understood. None, or empty: not given."""

    count: int | None = None  # resources on a page; 0: only their number is wanted
    total: Total | None = None
    summary: Summary | None = None
    elements: tuple[str, ...] = ()
    cursor: str = ""
    sort: tuple[SortKey, ...] = ()


# What each may hold, for those that are in ResultParameters; the rest is the form of the answer,
# which is not the search's.
NAMES = frozenset({"_count", "_total", "_summary", "_elements", SORT, CURSOR})
FORMS = frozenset({"_format", "_pretty"})
_CONTAINED = frozenset({"_contained", "_containedType"})


def is_result_parameter(name: str) -> bool:
    """Whether this name, with any modifier, is one of these."""
    code = name.partition(":")[0]
    return code in NAMES or code in FORMS or code in _CONTAINED


def understand(
    known: ResultParameters, scope: Scope, name: str, value: str, *, count_max: int
) -> ResultParameters:
    """`known` and one parameter more. Raises BadParameter, NotSupported, TooCostly,
    UnknownParameter; WithoutEffect if it has no value."""
    code, colon, _ = name.partition(":")
    if colon:
        raise BadParameter(f"{code} takes no modifier: leave it out")
    if code in FORMS:
        return known
    if not value:
        raise WithoutEffect("it has no value: leave the parameter out, or give it one")
    if code in _CONTAINED:
        if code == "_contained" and value == "false":
            return known
        raise NotSupported(
            f"{code} is not supported by this server: contained resources are found as parts of "
            "the resource that holds them"
        )
    if code == SORT:
        return msgspec.structs.replace(known, sort=parse_sort(scope, value, known.sort))
    field = code.removeprefix("_")
    if getattr(known, field) not in (None, "", ()):
        raise BadParameter(f"{code} is given more than once: send one")
    return msgspec.structs.replace(known, **{field: _parse(code, value, count_max)})


def _parse(code: str, value: str, count_max: int) -> object:
    match code:
        case "_count":
            return parse_count(value, count_max)
        case "_total":
            return _choice(Total, code, value)
        case "_summary":
            return _choice(Summary, code, value)
        case "_elements":
            return parse_elements(value)
    assert code == CURSOR, "a result parameter has a rule here"
    return value


def parse_count(value: str, count_max: int) -> int:
    """Resources on a page; more than the maximum is the maximum. Raises BadParameter."""
    if not (value.isascii() and value.isdigit()):
        raise BadParameter("_count is a number of resources, 0 or more; 0 asks for the total alone")
    return min(int(value), count_max) if len(value) <= _COUNT_DIGITS_MAX else count_max


def parse_elements(value: str) -> tuple[str, ...]:
    """Names of elements, each once. Raises BadParameter, TooCostly."""
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
    if len(names) > ELEMENTS_MAX:
        raise TooCostly(f"_elements names more than {ELEMENTS_MAX} elements: name fewer")
    if not all(map(_ELEMENT.fullmatch, names)):
        raise BadParameter("_elements is a list of names of elements, such as id,name,birthDate")
    return names


def parse_sort(scope: Scope, value: str, before: tuple[SortKey, ...] = ()) -> tuple[SortKey, ...]:
    """The keys of `_sort` after those of one that came before; a key that comes again changes
    nothing. Raises BadParameter, NotSupported, TooCostly, UnknownParameter."""
    keys = {_identity(key): key for key in before}
    for rule in value.split(","):
        code = rule.removeprefix("-")
        if not code:
            raise BadParameter(
                "_sort is a list of parameters, each with a '-' before it for descending order, "
                "such as status,-date"
            )
        key = _sort_key(scope, code, descending=code != rule)
        keys.setdefault(_identity(key), key)
    if len(keys) > SORT_KEYS_MAX:
        raise TooCostly(f"_sort has more than {SORT_KEYS_MAX} keys: name fewer")
    return tuple(keys.values())


def _identity(key: SortKey) -> tuple[str, bool]:
    return key.parameter.code if key.parameter else "", key.by_id


def _sort_key(scope: Scope, code: str, *, descending: bool) -> SortKey:
    if code in ("_id", "_lastUpdated"):
        return SortKey(None, descending, by_id=code == "_id")
    if len(scope.types) != 1:
        raise UnknownParameter(
            "a search over several types is sorted by _lastUpdated or _id, and by nothing else"
        )
    parameter = scope.parameter(code)
    if parameter.kind in _UNSORTABLE:
        raise NotSupported(
            f"'{shown(code)}' is a {parameter.kind} parameter, by which this server does not sort"
        )
    return SortKey(parameter, descending)


def _choice(kind: type[Total] | type[Summary], code: str, value: str) -> Total | Summary:
    try:
        return kind(value)
    except ValueError:
        raise BadParameter(f"{code} is one of {', '.join(kind)}") from None
