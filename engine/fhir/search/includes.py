"""`_include` and `_revinclude`: which references of the results are followed, and which way.

Source: FHIR R4 search.html, "Including other resources in result".
"""

from engine.errors import BadParameter, NotSupported, WithoutEffect
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.scope import Scope
from engine.fhir.search.tree import Include, Parameter

INCLUDE, REVINCLUDE = "_include", "_revinclude"
INCLUDES_MAX = 64  # in one query, a wildcard counted once

_WILDCARD = "*"


def parse_include(scope: Scope, name: str, value: str) -> tuple[Include, ...]:
    """One `_include` or `_revinclude` with its value, for each type that it starts from.

    Raises UnknownParameter; WithoutEffect if no result can hold such a reference; BadParameter,
    NotSupported.
    """
    code, _, modifier = name.partition(":")
    if modifier == "recurse":
        raise NotSupported(f"{code}:recurse was replaced by {code}:iterate: send that")
    if modifier not in ("", "iterate") or (not modifier and ":" in name):
        raise BadParameter(f"{code} takes no modifier but :iterate")
    if not value:
        raise WithoutEffect("it has no value: leave the parameter out, or give it one")
    reverse, iterate = code == REVINCLUDE, modifier == "iterate"
    source, parameter, target = _pieces(code, value)
    if target:
        scope.check_type(target)
    if source == _WILDCARD:
        # Of what was found; or, coming back or going on, of whatever may turn up.
        start = scope.narrowed() if reverse or iterate else scope
    else:
        start = scope.narrowed(scope.check_type(source))
        if not reverse and not iterate and scope.types and source not in scope.types:
            raise WithoutEffect(
                f"no result is of type {source}: name one that is searched, or send "
                f"{code}:iterate to follow references of included resources"
            )
    # Where the references must lead, if that is known.
    ends = scope if reverse and not iterate else scope.narrowed()
    if target:
        ends = _narrowed_to(target, ends, code)
    return _includes(start, parameter, ends, target, iterate=iterate, reverse=reverse)


def _pieces(code: str, value: str) -> tuple[str, str, str]:
    """Source, parameter and target of a value; a lone `*` is any source."""
    pieces = value.split(":")
    if "," in value:
        raise BadParameter(f"{code} takes one value: repeat the parameter for more")
    if value == _WILDCARD:
        return _WILDCARD, _WILDCARD, ""
    if len(pieces) not in (2, 3) or not all(pieces) or pieces[0] == _WILDCARD:
        raise BadParameter(
            f"a value of {code} is Type:parameter, Type:parameter:Target, Type:* or *, such as "
            "Observation:subject:Patient"
        )
    return pieces[0], pieces[1], pieces[2] if len(pieces) == 3 else ""


def _narrowed_to(target: str, ends: Scope, code: str) -> Scope:
    if ends.types and target not in ends.types:
        raise WithoutEffect(
            f"no result is of type {target}: name one that is searched, or send {code}:iterate"
        )
    return ends.narrowed(target)


def _includes(
    start: Scope, code: str, ends: Scope, target: str, *, iterate: bool, reverse: bool
) -> tuple[Include, ...]:
    if code == _WILDCARD:
        sources = start.references()
    else:
        sources = ((start.types[0], (_reference(start, code),)),)
    includes = tuple(
        Include(type, reaching, target, iterate=iterate, reverse=reverse)
        for type, parameters in sources
        if (reaching := tuple(one for one in parameters if ends.reaches(one)))
    )
    if includes:
        return includes
    if code != _WILDCARD and target:
        raise BadParameter(f"'{code}' of {start.types[0]} never points to {target}")
    raise WithoutEffect("no such reference leads from or to what is searched: leave it out")


def _reference(start: Scope, code: str) -> Parameter:
    parameter = start.parameter(code)
    if parameter.kind is not SearchKind.REFERENCE:
        raise BadParameter(
            f"'{code}' is a {parameter.kind} parameter: only references are followed"
        )
    return parameter
