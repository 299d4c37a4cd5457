"""Operations on resources: $validate, $meta, $meta-add, $meta-delete.

Sources: FHIR R4 resource-operation-validate.html, -meta.html, -meta-add.html, -meta-delete.html.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from quart import Blueprint, Response, request

from engine.errors import BadParameter, BadRequest, NotFound, NotSupported, ResourceInvalid
from engine.fhir.body import has_id, minified, prepare
from engine.interactions.matching import gone
from engine.interactions.meta import Labels, meta_of, parse_labels, with_labels, without_labels
from engine.interactions.write import patch
from engine.model import Issue, Prepared, Version
from web.fhir.address import check_address
from web.fhir.conditional_requests import parse_if_match, parse_version
from web.fhir.context import FhirContext
from web.fhir.negotiation import require_json_body
from web.fhir.outcome import issue_of, outcome_response
from web.fhir.representation import Form, json_response, named, request_form

VALIDATE_PARAMETERS = frozenset({"mode", "profile"})
META_BYTES_MAX = 1 << 20  # of the Parameters of a change
MODES = ("create", "update", "delete")
ANY_ID = "new"  # a resource is validated as if it had this one


class _Entry(msgspec.Struct):
    """One parameter of a Parameters resource, as far as it is looked at here."""

    name: str
    resource: msgspec.Raw = msgspec.Raw()
    valueMeta: msgspec.Raw = msgspec.Raw()  # noqa: N815 -- FHIR's names
    valueCode: str = ""  # noqa: N815
    valueString: str = ""  # noqa: N815
    valueUri: str = ""  # noqa: N815
    valueCanonical: str = ""  # noqa: N815

    @property
    def text(self) -> str:
        return self.valueCode or self.valueUri or self.valueCanonical or self.valueString


class _Parameters(msgspec.Struct):
    resourceType: str  # noqa: N815 -- FHIR's name
    parameter: list[_Entry] = []


class _Typed(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 -- FHIR's name


_parameters = msgspec.json.Decoder(_Parameters)
_typed = msgspec.json.Decoder(_Typed)


class _Asked(NamedTuple):
    """What $validate is asked for."""

    resource: bytes  # empty: none was sent
    mode: str
    profile: str


def operations_blueprint(context: FhirContext) -> Blueprint:
    """The routes of operations, below a FHIR base."""
    blueprint = Blueprint("operations", __name__)
    api = OperationsApi(context)
    one = "/<fhir_type:type>/<id>"
    version = f"{one}/_history/<version>"
    blueprint.add_url_rule("/<fhir_type:type>/$validate", view_func=api.validate, methods=["POST"])
    blueprint.add_url_rule(f"{one}/$validate", view_func=api.validate, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{one}/$meta", view_func=api.meta, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{version}/$meta", view_func=api.meta, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{one}/$meta-add", view_func=api.add, methods=["POST"])
    blueprint.add_url_rule(f"{one}/$meta-delete", view_func=api.remove, methods=["POST"])
    return blueprint


class OperationsApi:
    """The handlers."""

    def __init__(self, context: FhirContext) -> None:
        self._context = context

    async def validate(self, type: str, id: str | None = None) -> Response:
        """200 with what was found, also if that is bad: the validation itself went well."""
        check_address(type, id)
        request_form(others=VALIDATE_PARAMETERS)
        context = self._context
        async with context.body() as raw:
            if raw.strip():
                require_json_body(request.headers.get("Content-Type"))
            asked = await context.look_through(len(raw), _asked, raw, request.args)
            _check_asked(asked, type, id)
            if asked.resource:
                issues = await context.look_through(
                    len(raw), self._problems, asked.resource, type, id, asked.mode
                )
            else:
                issues = await self._problems_of_stored(type, id, asked.mode)
        well = Issue(severity="information", code="processing", diagnostics="no problem was found")
        return outcome_response(200, issues or [well])

    async def meta(self, type: str, id: str, version: str | None = None) -> Response:
        """The meta of the current version, or of one that is named."""
        check_address(type, id)
        form = request_form()
        found = await self._live(type, id, version)
        return self._answer(found, form)

    async def add(self, type: str, id: str) -> Response:
        """Labels that are not there yet; a new version if there is any such."""
        return await self._relabel(type, id, with_labels)

    async def remove(self, type: str, id: str) -> Response:
        """Labels that are there; a new version if there is any such."""
        return await self._relabel(type, id, without_labels)

    async def _relabel(
        self, type: str, id: str, relabelled: Callable[[bytes, Labels], bytes]
    ) -> Response:
        check_address(type, id)
        form = request_form()
        require_json_body(request.headers.get("Content-Type"))
        async with self._context.body(bytes_max=META_BYTES_MAX) as raw:
            labels = _sent_labels(raw)
        intake = self._context.intake()

        def change(version: Version) -> Prepared | None:
            assert version.body is not None
            changed = relabelled(version.body, labels)
            return None if changed is version.body else intake.at(changed, type=type, id=id)

        if_match = parse_if_match(request.headers.get("If-Match"))
        work = partial(patch, type=type, id=id, change=change, if_match=if_match)
        store = await self._context.store()
        done = await store.transact(work)
        assert done.version is not None
        return self._answer(done.version, form)

    def _answer(self, version: Version, form: Form) -> Response:
        assert version.body is not None
        body = b'{"resourceType":"Parameters","parameter":[{"name":"return","valueMeta":%b}]}'
        return named(json_response(body % meta_of(version.body), form), version)

    async def _live(self, type: str, id: str, version: str | None) -> Version:
        store = await self._context.store()
        if version is None:
            found = await store.read(type, id)
        else:
            number = parse_version(version)
            found = None if number is None else await store.vread(type, id, number)
        if found is None:
            raise NotFound("there is no such resource")
        if found.deleted:
            raise gone(found)
        return found

    async def _problems_of_stored(self, type: str, id: str | None, mode: str) -> Sequence[Issue]:
        if id is None:
            if mode == "delete":
                return []
            raise BadRequest("send the resource to be validated", expression="resource")
        found = await self._live(type, id, None)
        assert found.body is not None
        return [] if mode == "delete" else self._context.validator.check_body(found.body)

    def _problems(self, raw: bytes, type: str, id: str | None, mode: str) -> Sequence[Issue]:
        """In any thread: what is wrong with a body that was sent."""
        bytes_max = self._context.services.settings.resource_bytes_max
        expected = id if id is not None and mode != "create" else None
        if expected is None and not has_id(raw):
            expected = ANY_ID
        try:
            resource = prepare(raw, type=type, id=expected, bytes_max=bytes_max)
        except ResourceInvalid as error:
            return [issue_of(error)]
        return self._context.validator.check_body(resource.unwritten_body)


def _asked(raw: bytes, arguments: Mapping[str, str]) -> _Asked:
    """The resource and the other parameters, from the body and the URL."""
    mode, profile = arguments.get("mode", ""), arguments.get("profile", "")
    if not raw.strip() or not _is_parameters(raw):
        return _Asked(raw.strip(), mode, profile)
    resource = b""
    for entry in _entries(raw):
        if entry.name == "resource":
            resource = bytes(entry.resource)
        elif entry.name == "mode":
            mode = entry.text
        elif entry.name == "profile":
            profile = entry.text
        else:
            raise NotSupported("$validate has no such parameter", expression="Parameters.parameter")
    return _Asked(resource, mode, profile)


def _check_asked(asked: _Asked, type: str, id: str | None) -> None:
    if asked.profile:
        raise NotSupported(
            "validation against a profile is not supported: leave the profile out, and the "
            "structure is validated",
            expression="profile",
        )
    if asked.mode and asked.mode not in MODES:
        raise BadParameter(f"mode must be one of {', '.join(MODES)}", expression="mode")


def _is_parameters(raw: bytes) -> bool:
    try:
        return _typed.decode(raw).resourceType == "Parameters"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False  # what is wrong with it is found when it is validated


def _entries(raw: bytes) -> list[_Entry]:
    """The parameters of a body. Raises ResourceInvalid."""
    text = minified(raw)
    try:
        parameters = _parameters.decode(text)
    except msgspec.DecodeError:
        raise ResourceInvalid(
            'is no Parameters: send {"resourceType":"Parameters","parameter":[...]}',
            expression="Parameters",
        ) from None
    if parameters.resourceType != "Parameters":
        raise ResourceInvalid("is no Parameters", code="value", expression="resourceType")
    return parameters.parameter


def _sent_labels(raw: bytes) -> Labels:
    metas = [bytes(entry.valueMeta) for entry in _entries(raw) if entry.name == "meta"]
    if len(metas) != 1 or not metas[0]:
        raise BadRequest(
            "send one parameter named meta, with the labels in its valueMeta",
            expression="Parameters.parameter",
        )
    return parse_labels(metas[0])
