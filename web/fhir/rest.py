"""REST: create, read, vread, update, patch and delete of resources, also by criteria.

What was answered with 2xx is durable: the store's writes return after their commit. What
depends on what is there is decided inside the change itself (engine/interactions).
Source: FHIR R4 http.html.
"""

from collections.abc import Callable
from functools import partial

from quart import Blueprint, Response, request
from werkzeug.exceptions import UnsupportedMediaType

from engine.errors import NotFound
from engine.fhir.patch import parse_patch
from engine.interactions.effect import Done, Effect
from engine.interactions.matching import gone
from engine.interactions.write import (
    Change,
    conditional_delete,
    conditional_patch,
    conditional_update,
    create,
    patch,
    update,
)
from engine.model import Issue, Prepared, Version
from engine.ports import TenantStore
from web.fhir.address import check_address
from web.fhir.binary import content_response, content_wrapper, sends_content, wants_content
from web.fhir.conditional_requests import (
    etag_of,
    parse_if_match,
    parse_only_create,
    parse_version,
)
from web.fhir.context import FhirContext
from web.fhir.criteria import parse_criteria
from web.fhir.negotiation import JSON_PATCH, require_json_body
from web.fhir.outcome import empty_response, outcome_response
from web.fhir.representation import (
    FORM_PARAMETERS,
    Form,
    Returned,
    parse_form,
    read_response,
    request_form,
    request_returned,
    require_json,
    write_response,
)

_STATUS = {Effect.CREATED: 201, Effect.UPDATED: 200, Effect.UNCHANGED: 200}


def rest_blueprint(context: FhirContext) -> Blueprint:
    """The routes of resources, below a FHIR base."""
    blueprint = Blueprint("rest", __name__)
    api = RestApi(context)
    all_, one = "/<fhir_type:type>", "/<fhir_type:type>/<id>"
    blueprint.add_url_rule(all_, view_func=api.create, methods=["POST"])
    blueprint.add_url_rule(all_, view_func=api.update_match, methods=["PUT"])
    blueprint.add_url_rule(all_, view_func=api.patch_match, methods=["PATCH"])
    blueprint.add_url_rule(all_, view_func=api.delete_matches, methods=["DELETE"])
    blueprint.add_url_rule(one, view_func=api.read, methods=["GET"])
    blueprint.add_url_rule(one, view_func=api.update, methods=["PUT"])
    blueprint.add_url_rule(one, view_func=api.patch, methods=["PATCH"])
    blueprint.add_url_rule(one, view_func=api.delete, methods=["DELETE"])
    blueprint.add_url_rule(f"{one}/_history/<version>", view_func=api.vread, methods=["GET"])
    return blueprint


class RestApi:
    """The handlers."""

    def __init__(self, context: FhirContext) -> None:
        self._context = context

    async def read(self, type: str, id: str) -> Response:
        """The current version, or 304 if the client has it."""
        check_address(type, id)
        form = _read_form(type)
        store = await self._context.store()
        return self._found(await store.read(type, id), form)

    async def vread(self, type: str, id: str, version: str) -> Response:
        """One version."""
        check_address(type, id)
        form = _read_form(type)
        number = parse_version(version)
        if number is None:
            raise NotFound("there is no such version")
        store = await self._context.store()
        return self._found(await store.vread(type, id, number), form)

    async def create(self, type: str) -> Response:
        """A new id, whatever id the body has; with If-None-Exist only if nothing matches."""
        check_address(type)
        form = _write_form(type)
        context = self._context
        async with context.body() as raw:
            intake = partial(context.intake().new, type=type, id=context.new_id())
            resource = await context.look_through(len(raw), _taken_in, raw, _wrap(type), intake)
        store = await context.store()
        criteria = request.headers.get("If-None-Exist")
        if criteria is None:
            written = await store.create(resource)
            return self._written(Done(Effect.CREATED, written.version), form)
        query = await parse_criteria(context, store, criteria, type=type)
        work = partial(create, resource=resource, if_none_exist=query)
        return self._written(await store.transact(work, size_bytes=resource.size_bytes), form)

    async def update(self, type: str, id: str) -> Response:
        """A new version, or the first at this id."""
        check_address(type, id)
        form = _write_form(type)
        if_match, only_create = _if_match(), parse_only_create(request.headers.get("If-None-Match"))
        context = self._context
        async with context.body() as raw:
            intake = partial(context.intake().replacing, type=type, id=id)
            resource = await context.look_through(len(raw), _taken_in, raw, _wrap(type, id), intake)
        store = await context.store()
        if not only_create:
            written = await store.update(resource, if_match=if_match)
            effect = Effect.CREATED if written.created else Effect.UPDATED
            return self._written(Done(effect, written.version), form)
        work = partial(update, resource=resource, if_match=if_match, if_none_match=True)
        return self._written(await store.transact(work, size_bytes=resource.size_bytes), form)

    async def update_match(self, type: str) -> Response:
        """Update what matches the criteria in the URL, or create it."""
        check_address(type)
        form = _criteria_form(with_body=True)
        if_match = _if_match()
        context = self._context
        async with context.body() as raw:
            intake = partial(context.intake().either, type=type, id=context.new_id())
            resource, has_id = await context.look_through(len(raw), intake, raw)
        store = await context.store()
        query = await parse_criteria(context, store, request.query_string, type=type)
        work = partial(
            conditional_update, query=query, resource=resource, has_id=has_id, if_match=if_match
        )
        return self._written(await store.transact(work, size_bytes=resource.size_bytes), form)

    async def patch(self, type: str, id: str) -> Response:
        """Change a resource by a JSON Patch."""
        check_address(type, id)
        form = request_form()
        if_match = _if_match()
        store = await self._context.store()
        change, size_bytes = await self._change(store)
        change = await self._foreseen(change, await store.read(type, id), if_match)
        work = partial(patch, type=type, id=id, change=change, if_match=if_match)
        return self._written(await store.transact(work, size_bytes=size_bytes), form)

    async def patch_match(self, type: str) -> Response:
        """Change the only resource that matches the criteria in the URL."""
        check_address(type)
        form = _criteria_form()
        if_match = _if_match()
        store = await self._context.store()
        change, size_bytes = await self._change(store)
        query = await parse_criteria(self._context, store, request.query_string, type=type)
        work = partial(conditional_patch, query=query, change=change, if_match=if_match)
        return self._written(await store.transact(work, size_bytes=size_bytes), form)

    async def delete(self, type: str, id: str) -> Response:
        """204, also if it is gone already or never was: the end is the same."""
        check_address(type, id)
        request_form()
        store = await self._context.store()
        tombstone = await store.delete(type, id, if_match=_if_match())
        return _deleted(Done(Effect.DELETED, tombstone))

    async def delete_matches(self, type: str) -> Response:
        """Delete what matches the criteria in the URL, if it is not too much."""
        check_address(type)
        _criteria_form()
        context = self._context
        store = await context.store()
        query = await parse_criteria(context, store, request.query_string, type=type)
        limit = context.services.settings.conditional_delete_max
        work = partial(conditional_delete, query=query, limit=limit, if_match=_if_match())
        return _deleted(await store.transact(work))

    async def _change(self, store: TenantStore) -> tuple[Change, int]:
        """The patch in the body, and its size."""
        media_type = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if media_type != JSON_PATCH:
            raise UnsupportedMediaType(
                f"send a JSON Patch (RFC 6902) with 'Content-Type: {JSON_PATCH}'; patches by "
                "FHIRPath and XML are not supported"
            )
        context = self._context
        async with context.body() as raw:
            wanted = await context.look_through(len(raw), parse_patch, raw)
            size_bytes = len(raw)
        intake = context.intake(await store.search_definitions())
        bytes_max = context.services.settings.resource_bytes_max

        def change(version: Version) -> Prepared:
            assert version.body is not None
            changed = wanted.applied(version.body, bytes_max=bytes_max)
            return intake.at(changed, type=version.type, id=version.id)

        return change, size_bytes

    async def _foreseen(self, change: Change, seen: Version | None, if_match: int | None) -> Change:
        """The same change, made ahead for the version that is there now: the store is not held
        up by it unless another version comes first. Raises what the change does."""
        if seen is None or seen.body is None or if_match not in (None, seen.version):
            return change  # refused in time
        ahead = await self._context.look_through(len(seen.body), change, seen)
        return lambda version: ahead if version.version == seen.version else change(version)

    def _found(self, version: Version | None, form: Form | None) -> Response:
        if version is None:
            raise NotFound("there is no such resource")
        if version.deleted:
            raise gone(version)
        if form is None:
            return content_response(version)
        return read_response(version, form, self._context.definitions)

    def _written(self, done: Done, form: Form) -> Response:
        version = done.version
        assert version is not None
        status = _STATUS[done.effect]
        response = write_response(version, status, form, self._context.definitions)
        name = f"{version.type}/{version.id}/_history/{version.version}"
        response.headers["Location"] = f"{self._context.base}/{name}"
        return response


def _read_form(type: str) -> Form | None:
    """The form of a resource that is read; None if only the content of a Binary is wanted."""
    return None if wants_content(type) else request_form()


def _write_form(type: str) -> Form:
    """The form of the answer to a request that sends a resource, or the content of one."""
    form = request_form()
    if not sends_content(type):
        require_json_body(request.headers.get("Content-Type"))
    return form


def _wrap(type: str, id: str = "") -> Callable[[bytes], bytes] | None:
    """What makes a resource of the current body, if it is not one."""
    return content_wrapper(id) if sends_content(type) else None


def _taken_in(
    raw: bytes, wrap: Callable[[bytes], bytes] | None, intake: Callable[[bytes], Prepared]
) -> Prepared:
    return intake(raw if wrap is None else wrap(raw))


def _criteria_form(*, with_body: bool = False) -> Form:
    """Likewise where the other parameters are criteria."""
    pairs = [pair for pair in request.args.items(multi=True) if pair[0] in FORM_PARAMETERS]
    require_json(pairs)
    if with_body:
        require_json_body(request.headers.get("Content-Type"))
    return parse_form(pairs)


def _if_match() -> int | None:
    return parse_if_match(request.headers.get("If-Match"))


def _deleted(done: Done) -> Response:
    """Without a body, unless an OperationOutcome is preferred."""
    if request_returned() is Returned.OUTCOME:
        text = f"{done.count} resources were deleted" if done.count != 1 else "it was deleted"
        issue = Issue(severity="information", code="processing", diagnostics=text)
        response = outcome_response(200, [issue])
    else:
        response = empty_response(204)
    if done.version is not None:
        response.headers["ETag"] = etag_of(done.version)
    return response
