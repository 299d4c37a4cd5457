"""REST: create, read, vread, update and delete of one resource.

What was answered with 2xx is durable: the store's writes return after their commit.
"""

import re
import uuid
from datetime import UTC, datetime

import msgspec
from quart import Blueprint, Response, request
from werkzeug.http import http_date

from engine.errors import BadRequest, Gone, NotFound, NotSupported
from engine.fhir.body import prepare
from engine.fhir.ids import is_id
from engine.fhir.types import STORED_TYPES
from engine.model import Prepared, Version
from web.fhir.negotiation import (
    FHIR_JSON,
    FHIR_JSON_UTF8,
    JSON,
    parse_prefer,
    require_accept,
    require_json_body,
    require_json_format,
)
from web.fhir.outcome import empty_response
from web.fhir.tenancy import current_tenant, tenant_base
from web.services import Services
from web.upload import Uploads

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_IF_MATCH = re.compile(r'W/"([1-9][0-9]{0,17})"')

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def rest_blueprint(services: Services, uploads: Uploads) -> Blueprint:
    """The routes of single resources, below a FHIR base."""
    blueprint = Blueprint("rest", __name__)
    api = RestApi(services, uploads)
    one = "/<fhir_type:type>/<id>"
    blueprint.add_url_rule("/<fhir_type:type>", view_func=api.create, methods=["POST"])
    blueprint.add_url_rule(one, view_func=api.read, methods=["GET"])
    blueprint.add_url_rule(one, view_func=api.update, methods=["PUT"])
    blueprint.add_url_rule(one, view_func=api.delete, methods=["DELETE"])
    blueprint.add_url_rule(f"{one}/_history/<version>", view_func=api.vread, methods=["GET"])
    return blueprint


class RestApi:
    """The handlers."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        self._services = services
        self._uploads = uploads

    async def create(self, type: str) -> Response:
        _check_address(type)
        _check_negotiation(writes=True)
        _refuse_header("If-None-Exist", "conditional create is not supported: send an id by PUT")
        id = str(uuid.UUID(hex=self._services.ports.entropy.token(), version=4))
        bytes_max = self._services.settings.resource_bytes_max
        async with self._uploads.whole_body(request) as raw:
            resource = prepare_new(raw, type=type, id=id, bytes_max=bytes_max)
            store = await self._services.ports.tenants.store(current_tenant())
            written = await store.create(resource)
        return self._written(written.version, 201)

    async def read(self, type: str, id: str) -> Response:
        _check_address(type, id)
        _check_negotiation()
        store = await self._services.ports.tenants.store(current_tenant())
        return self._found(await store.read(type, id))

    async def vread(self, type: str, id: str, version: str) -> Response:
        _check_address(type, id)
        _check_negotiation()
        if not _VERSION.fullmatch(version):
            raise NotFound("there is no such version")
        store = await self._services.ports.tenants.store(current_tenant())
        return self._found(await store.vread(type, id, int(version)))

    async def update(self, type: str, id: str) -> Response:
        _check_address(type, id)
        _check_negotiation(writes=True)
        _refuse_header("If-None-Match", "If-None-Match is not supported for updates: use If-Match")
        if_match = _if_match()
        bytes_max = self._services.settings.resource_bytes_max
        async with self._uploads.whole_body(request) as raw:
            resource = prepare(raw, type=type, id=id, bytes_max=bytes_max)
            store = await self._services.ports.tenants.store(current_tenant())
            written = await store.update(resource, if_match=if_match)
        return self._written(written.version, 201 if written.created else 200)

    async def delete(self, type: str, id: str) -> Response:
        """204, also if it is gone already or never was: the end is the same."""
        _check_address(type, id)
        _check_negotiation()
        store = await self._services.ports.tenants.store(current_tenant())
        tombstone = await store.delete(type, id, if_match=_if_match())
        response = empty_response(204)
        if tombstone is not None:
            response.headers["ETag"] = _etag(tombstone)
        return response

    def _found(self, version: Version | None) -> Response:
        if version is None:
            raise NotFound("there is no such resource")
        if version.body is None:
            raise Gone(f"{version.type}/{version.id} was deleted as version {version.version}")
        return _resource_response(version, 200, version.body)

    def _written(self, version: Version, status: int) -> Response:
        assert version.body is not None
        returned = parse_prefer(request.headers.getlist("Prefer")).get("return")
        response = _resource_response(
            version, status, b"" if returned == "minimal" else version.body
        )
        base = tenant_base(self._services, current_tenant())
        address = f"{base}/{version.type}/{version.id}/_history/{version.version}"
        response.headers["Location"] = address
        return response


def prepare_new(raw: bytes, *, type: str, id: str, bytes_max: int) -> Prepared:
    """Check a resource that is to be created: its own id, if it has one, gives way to `id`.

    Raises ResourceInvalid, ResourceTooLarge.
    """
    if not _has_id(raw):
        return prepare(raw, type=type, id=id, bytes_max=bytes_max)
    prepare(raw, type=type, bytes_max=bytes_max)  # finds members that come twice, before they go
    members = _members.decode(raw)
    kept = [
        msgspec.json.encode(name) + b":" + bytes(value)
        for name, value in members.items()
        if name != "id"
    ]
    return prepare(b"{%b}" % b",".join(kept), type=type, id=id, bytes_max=bytes_max)


def _has_id(raw: bytes) -> bool:
    try:
        return "id" in _members.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False  # not a resource, as `prepare` will say


def _resource_response(version: Version, status: int, body: bytes) -> Response:
    response = Response(body, status)
    response.headers["Content-Type"] = FHIR_JSON_UTF8
    response.headers["ETag"] = _etag(version)
    response.headers["Last-Modified"] = http_date(
        datetime.fromtimestamp(version.updated_ms // 1000, UTC)
    )
    return response


def _etag(version: Version) -> str:
    return f'W/"{version.version}"'


def _if_match() -> int | None:
    header = request.headers.get("If-Match")
    if header is None:
        return None
    match = _IF_MATCH.fullmatch(header.strip())
    if match is None:
        raise BadRequest('send If-Match as the ETag of one version, such as W/"3"')
    return int(match[1])


def _check_address(type: str, id: str | None = None) -> None:
    """What cannot be stored cannot be found either."""
    if type not in STORED_TYPES or (id is not None and not is_id(id)):
        raise NotFound("there is no such resource")


def _check_negotiation(*, writes: bool = False) -> None:
    """Refuse what would be answered in another form than was asked for."""
    for name in request.args:
        if name != "_format":
            raise NotSupported("only the parameter _format is supported here", expression=name)
    if formats := request.args.getlist("_format"):
        require_json_format(formats)
    else:
        require_accept(request.headers.get("Accept"), FHIR_JSON, JSON)
    if writes:
        require_json_body(request.headers.get("Content-Type"))


def _refuse_header(name: str, message: str) -> None:
    if name in request.headers:
        raise NotSupported(message)
