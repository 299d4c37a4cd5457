"""Capability: what this server does, and no more (E83, promise 10).

Interactions and operations are read off the application's own routes, search parameters off the
tenant's definitions: what is not wired is not named. Source: FHIR R4 capabilitystatement.html.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version as distribution_version
from typing import Any

import msgspec
from quart import Blueprint, Response, current_app, request
from werkzeug.routing import Map

from engine.errors import NotSupported
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.tree import Parameter
from engine.fhir.types import STORED_TYPES
from engine.instant import format_instant
from engine.tenant import TenantId
from web.fhir.context import FhirContext
from web.fhir.negotiation import FHIR_JSON, JSON_PATCH
from web.fhir.representation import json_response, request_form
from web.fhir.tenancy import FHIR_PREFIX, current_tenant

BULK_DATA = "http://hl7.org/fhir/uv/bulkdata"
DEFINITIONS = "http://hl7.org/fhir/OperationDefinition"

Route = tuple[str, str]  # method, and rule below the base

_TYPE, _ONE = "/<fhir_type:type>", "/<fhir_type:type>/<id>"
_RESOURCE_INTERACTIONS: tuple[tuple[str, Route], ...] = (
    ("read", ("GET", _ONE)),
    ("vread", ("GET", f"{_ONE}/_history/<version>")),
    ("update", ("PUT", _ONE)),
    ("patch", ("PATCH", _ONE)),
    ("delete", ("DELETE", _ONE)),
    ("history-instance", ("GET", f"{_ONE}/_history")),
    ("history-type", ("GET", f"{_TYPE}/_history")),
    ("create", ("POST", _TYPE)),
    ("search-type", ("GET", _TYPE)),
)
_SYSTEM_INTERACTIONS: tuple[tuple[str, Route], ...] = (
    ("transaction", ("POST", "")),
    ("batch", ("POST", "")),
    ("search-system", ("GET", "/_search")),
    ("history-system", ("GET", "/_history")),
)
_RESOURCE_OPERATIONS: tuple[tuple[str, str, Route], ...] = (
    ("validate", f"{DEFINITIONS}/Resource-validate", ("POST", f"{_TYPE}/$validate")),
    ("meta", f"{DEFINITIONS}/Resource-meta", ("GET", f"{_ONE}/$meta")),
    ("meta-add", f"{DEFINITIONS}/Resource-meta-add", ("POST", f"{_ONE}/$meta-add")),
    ("meta-delete", f"{DEFINITIONS}/Resource-meta-delete", ("POST", f"{_ONE}/$meta-delete")),
)
_TYPE_OPERATIONS: tuple[tuple[str, str, str, Route], ...] = (
    (
        "Patient",
        "everything",
        f"{DEFINITIONS}/Patient-everything",
        ("GET", "/Patient/<id>/$everything"),
    ),
)
_SYSTEM_OPERATIONS: tuple[tuple[str, str, Route], ...] = (
    ("export", f"{BULK_DATA}/OperationDefinition/export", ("GET", "/$export")),
)


class Wiring:
    """What the routes of an application come to."""

    def __init__(self, routes: frozenset[Route], *, deletes_several: bool) -> None:
        self.routes = routes
        self.deletes_several = deletes_several

    def interactions(self, known: Iterable[tuple[str, Route]]) -> list[dict[str, str]]:
        """Those that have a route."""
        return [{"code": code} for code, route in known if route in self.routes]

    def operations(self, known: Iterable[tuple[str, str, Route]]) -> list[dict[str, str]]:
        """Likewise."""
        return [
            {"name": name, "definition": definition}
            for name, definition, route in known
            if route in self.routes
        ]


def routes_of(rules: Map) -> frozenset[Route]:
    """Methods and rules below the FHIR base of the default tenant."""
    return frozenset(
        (method, rule.rule.removeprefix(FHIR_PREFIX))
        for rule in rules.iter_rules()
        if rule.rule.startswith(FHIR_PREFIX)
        for method in rule.methods or ()
    )


def capability_blueprint(context: FhirContext) -> Blueprint:
    """`metadata`, below a FHIR base."""
    blueprint = Blueprint("capability", __name__)
    started_ms = context.now_ms
    # Of each tenant the last one: made anew when its search parameters change.
    made: dict[TenantId, tuple[int, bytes]] = {}

    @blueprint.get("/metadata")
    async def metadata() -> Response:
        form = request_form(others=frozenset({"mode"}))
        _check_mode(request.args.getlist("mode"))
        tenant = current_tenant()
        search = await (await context.store()).search_definitions()
        if tenant not in made or made[tenant][0] != search.generation:
            limit = context.services.settings.conditional_delete_max
            wiring = Wiring(routes_of(current_app.url_map), deletes_several=limit > 1)
            data = capability_statement(context.base, started_ms, search, wiring)
            made[tenant] = (search.generation, msgspec.json.encode(data))
        return json_response(made[tenant][1], form)

    return blueprint


def _check_mode(modes: Sequence[str]) -> None:
    """Which statement is wanted (http.html#capabilities): there is but the one."""
    if any(mode not in ("full", "normative") for mode in modes):
        raise NotSupported("mode must be full or normative: there is no other", expression="mode")


def capability_statement(
    base: str, date_ms: int, search: SearchDefinitions, wiring: Wiring
) -> dict[str, Any]:
    """The CapabilityStatement of one tenant's FHIR base."""
    searched = {type: tuple(search.parameters(type)) for type in sorted(STORED_TYPES)}
    rest: dict[str, Any] = {
        "mode": "server",
        "resource": [_resource(type, searched, wiring) for type in searched],
        "interaction": wiring.interactions(_SYSTEM_INTERACTIONS),
        "searchParam": [_parameter(one) for one in search.parameters("")],
        "operation": wiring.operations(_SYSTEM_OPERATIONS),
        "compartment": [
            f"http://hl7.org/fhir/CompartmentDefinition/{name.lower()}"
            for name in sorted(search.definitions.compartments)
        ],
    }
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": format_instant(date_ms),
        "kind": "instance",
        "instantiates": [f"{BULK_DATA}/CapabilityStatement/bulk-data"],
        "software": {"name": "Penstock", "version": distribution_version("penstock")},
        "implementation": {"description": "Penstock, a bulk-data engine for FHIR", "url": base},
        "fhirVersion": search.definitions.version,
        "format": [FHIR_JSON, "json"],
        "patchFormat": [JSON_PATCH],
        "rest": [{name: value for name, value in rest.items() if value}],
    }


def _resource(
    type: str, searched: Mapping[str, tuple[Parameter, ...]], wiring: Wiring
) -> dict[str, Any]:
    own = [one[1:] for one in _TYPE_OPERATIONS if one[0] == type]
    data = {
        "type": type,
        "interaction": wiring.interactions(_RESOURCE_INTERACTIONS),
        "versioning": "versioned-update",  # If-Match counts where it is sent
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": ("PUT", _TYPE) in wiring.routes,
        "conditionalDelete": "multiple" if wiring.deletes_several else "single",
        # References are kept as they come: nobody checks that there is something at their end.
        "referencePolicy": ["literal", "logical"],
        "searchInclude": _includes(searched[type]),
        "searchRevInclude": [
            f"{source}:{one.code}"
            for source, parameters in searched.items()
            for one in parameters
            if one.kind is SearchKind.REFERENCE and type in one.targets
        ],
        "searchParam": [_parameter(one) for one in searched[type]],
        "operation": wiring.operations([*_RESOURCE_OPERATIONS, *own]),
    }
    return {name: value for name, value in data.items() if value != []}


def _includes(parameters: Iterable[Parameter]) -> list[str]:
    references = [one for one in parameters if one.kind is SearchKind.REFERENCE]
    return ["*", *(f"{one.type}:{one.code}" for one in references)] if references else []


def _parameter(parameter: Parameter) -> dict[str, str]:
    data = {"name": parameter.code, "type": parameter.kind.value}
    if parameter.url:
        data["definition"] = parameter.url
    return data
