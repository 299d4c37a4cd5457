"""Capability: what this server does, and no more (E83, promise 10)."""

from importlib.metadata import version as distribution_version
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from engine.fhir.types import STORED_TYPES
from engine.instant import format_instant
from web.fhir.negotiation import (
    FHIR_JSON,
    FHIR_JSON_UTF8,
    JSON,
    require_accept,
    require_json_format,
)
from web.fhir.tenancy import current_tenant, tenant_base
from web.services import Services

BULK_DATA = "http://hl7.org/fhir/uv/bulkdata"
INTERACTIONS = ("read", "vread", "create", "update", "delete")


def capability_blueprint(services: Services) -> Blueprint:
    """`metadata`, below a FHIR base."""
    blueprint = Blueprint("capability", __name__)
    started_ms = services.ports.clock.now_ms()

    @blueprint.get("/metadata")
    async def metadata() -> Response:
        if formats := request.args.getlist("_format"):
            require_json_format(formats)
        else:
            require_accept(request.headers.get("Accept"), FHIR_JSON, JSON)
        tenant = current_tenant()
        await services.ports.tenants.get(tenant)
        data = capability_statement(tenant_base(services, tenant), started_ms)
        response = Response(msgspec.json.encode(data), 200)
        response.headers["Content-Type"] = FHIR_JSON_UTF8
        return response

    return blueprint


def capability_statement(base: str, date_ms: int) -> dict[str, Any]:
    """The CapabilityStatement of one tenant's FHIR base."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": format_instant(date_ms),
        "kind": "instance",
        "instantiates": [f"{BULK_DATA}/CapabilityStatement/bulk-data"],
        "software": {"name": "Penstock", "version": distribution_version("penstock")},
        "implementation": {"description": "Penstock, a bulk-data engine for FHIR", "url": base},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON, "json"],
        "rest": [
            {
                "mode": "server",
                "resource": [_resource(name) for name in sorted(STORED_TYPES)],
                "operation": [
                    {"name": "export", "definition": f"{BULK_DATA}/OperationDefinition/export"}
                ],
            }
        ],
    }


def _resource(name: str) -> dict[str, Any]:
    return {
        "type": name,
        "interaction": [{"code": code} for code in INTERACTIONS],
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": True,
    }
