"""Which modifiers a search parameter takes, by its type, and why the others are refused.

Source: FHIR R4 search.html, "Modifiers" and the chapters of the parameter types. A modifier that
is not taken is always an error, also in a lenient search: the specification says so, because
without it the answer would mean something else.
"""

from engine.errors import BadParameter, NotSupported
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.tree import Modifier

MISSING = "missing"
IDENTIFIER = "identifier"

# Beside `:missing`, which all types but composite take, and `:[type]` of references.
_TAKEN: dict[SearchKind, frozenset[str]] = {
    SearchKind.STRING: frozenset({Modifier.EXACT, Modifier.CONTAINS}),
    SearchKind.TOKEN: frozenset({Modifier.NOT, Modifier.OF_TYPE}),
    SearchKind.REFERENCE: frozenset({IDENTIFIER, Modifier.ABOVE, Modifier.BELOW}),
    SearchKind.URI: frozenset({Modifier.ABOVE, Modifier.BELOW}),
}

# Known to the specification, and not here.
_NEEDS_TERMINOLOGY = "it asks for a terminology server, which this server does not have"
_REFUSED: dict[str, str] = {
    "text": "it asks for a search in texts of codes, which this server does not have",
    "text-advanced": "it asks for a search in texts, which this server does not have",
    "code-text": "it is not part of FHIR R4",
    "in": _NEEDS_TERMINOLOGY,
    "not-in": _NEEDS_TERMINOLOGY,
    "iterate": "it belongs to _include and _revinclude alone",
    "recurse": "it was replaced by :iterate, which belongs to _include and _revinclude alone",
}


def check_modifier(kind: SearchKind, code: str, modifier: str) -> None:
    """Raise BadParameter or NotSupported, unless a parameter of this type takes the modifier.
    Names of resource types are the caller's."""
    taken = _TAKEN.get(kind, frozenset())
    if modifier in taken or (modifier == MISSING and kind is not SearchKind.COMPOSITE):
        return
    if modifier in _REFUSED:
        raise NotSupported(
            f"the modifier :{modifier} of '{code}' is not supported: {_REFUSED[modifier]}"
        )
    if kind is SearchKind.TOKEN and modifier in (Modifier.ABOVE, Modifier.BELOW):
        raise NotSupported(
            f"the modifier :{modifier} of '{code}' is not supported: {_NEEDS_TERMINOLOGY}"
        )
    usable = ", ".join(f":{one}" for one in [*sorted(taken), *_everywhere(kind)])
    raise BadParameter(
        f"'{code}' is a {kind} parameter and has no such modifier: "
        + (f"use one of {usable}, or none" if usable else "leave it out")
    )


def _everywhere(kind: SearchKind) -> tuple[str, ...]:
    if kind is SearchKind.COMPOSITE:
        return ()
    return (MISSING, "[type]") if kind is SearchKind.REFERENCE else (MISSING,)


def parse_missing(value: str) -> bool:
    """The value of `:missing`. Raises BadParameter."""
    if value not in ("true", "false"):
        raise BadParameter("a value of :missing is true or false")
    return value == "true"
