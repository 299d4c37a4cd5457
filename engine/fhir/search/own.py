"""A tenant's own SearchParameter resources: read, and checked for what can be searched here.

Source: FHIR R4 searchparameter.html.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from engine.errors import BadRequest
from engine.fhir.definitions.model import Component, SearchKind, SearchParameter
from engine.fhir.search.fhirpath import ExpressionNotSupported

ACTIVE = "active"
TARGETS_ALL = "Resource"
CODE_RULE = (
    "1 to 64 letters, digits, - or _, beginning with a letter: what begins with _ is the"
    " specification's"
)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_BASES_OF_ALL = ("Resource", "DomainResource")


class OwnParameterInvalid(BadRequest):
    """A SearchParameter resource that can be no parameter here."""


def own_parameter(
    resource: bytes | Mapping[str, Any], types: Collection[str]
) -> SearchParameter | None:
    """The parameter that a resource defines; None if it is not active.

    `types` are the resource types there are. Raises OwnParameterInvalid.
    """
    if isinstance(resource, bytes):
        try:
            resource = msgspec.json.decode(resource, type=dict)
        except msgspec.DecodeError:
            raise OwnParameterInvalid("a SearchParameter is not a JSON object") from None
    if resource.get("status") != ACTIVE:
        return None
    kind = _kind(resource)
    return SearchParameter(
        url=_text(resource, "url"),
        code=_code(resource),
        kind=kind,
        base=_types(resource, "base", (*types, *_BASES_OF_ALL)),
        expression=_text(resource, "expression"),
        targets=tuple(
            type
            for type in _types(resource, "target", (*types, TARGETS_ALL), optional=True)
            if type != TARGETS_ALL
        ),
        components=_components(resource) if kind is SearchKind.COMPOSITE else (),
    )


def refused(parameter: SearchParameter, reason: str) -> ExpressionNotSupported:
    """The error that says which own parameter cannot be done here, and why."""
    return ExpressionNotSupported(
        f"the search parameter '{parameter.code}' cannot be used: {reason}",
        expression="SearchParameter.expression",
    )


def _invalid(element: str, rule: str) -> OwnParameterInvalid:
    return OwnParameterInvalid(
        f"SearchParameter.{element} must be {rule}", expression=f"SearchParameter.{element}"
    )


def _text(resource: Mapping[str, Any], element: str) -> str:
    value = resource.get(element)
    if not isinstance(value, str) or not value.strip():
        raise _invalid(element, "there for an active parameter")
    return value


def _code(resource: Mapping[str, Any]) -> str:
    code = resource.get("code")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise _invalid("code", CODE_RULE)
    return code


def _kind(resource: Mapping[str, Any]) -> SearchKind:
    kinds = [kind.value for kind in SearchKind if kind is not SearchKind.SPECIAL]
    kind = resource.get("type")
    if kind not in kinds:
        raise _invalid("type", f"one of {', '.join(kinds)}")
    return SearchKind(kind)


def _types(
    resource: Mapping[str, Any], element: str, known: Collection[str], *, optional: bool = False
) -> tuple[str, ...]:
    value = resource.get(element, [] if optional else None)
    is_list = isinstance(value, list) and (optional or value)
    if not is_list or not all(isinstance(type, str) and type in known for type in value):
        raise _invalid(element, "a list of resource types")
    return tuple(value)


def _components(resource: Mapping[str, Any]) -> tuple[Component, ...]:
    value = resource.get("component")
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise _invalid("component", "a list of components for a composite parameter")
    found = []
    for part in value:
        definition, expression = part.get("definition"), part.get("expression")
        if not isinstance(definition, str) or not isinstance(expression, str):
            raise _invalid("component", "a definition and an expression each")
        found.append(Component(definition, expression))
    return tuple(found)
