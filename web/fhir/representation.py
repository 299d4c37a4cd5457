"""Representation: a stored resource in the form that a request asks for.

`_format`, `_pretty`, `_summary` and `_elements` may stand in any URL; `Prefer: return=` says what
the answer to a write holds. Sources: FHIR R4 http.html#parameters, search.html#summary and
#elements, http.html#return.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from quart import Response, request
from werkzeug.http import http_date

from engine.errors import BadParameter, NotSupported
from engine.fhir.definitions.model import Definitions
from engine.fhir.elements import Summary as Part
from engine.fhir.elements import with_elements, with_summary
from engine.fhir.search.results import Summary, parse_elements
from engine.fhir.search.scope import shown
from engine.model import Issue, Version
from web.fhir.conditional_requests import etag_of, is_not_modified
from web.fhir.negotiation import (
    FHIR_JSON,
    FHIR_JSON_UTF8,
    JSON,
    parse_prefer,
    require_accept,
    require_json_format,
)
from web.fhir.outcome import empty_response, outcome_response

FORM_PARAMETERS = frozenset({"_format", "_pretty", "_summary", "_elements"})
INDENT = 2
# What each form of _summary leaves of a resource; `false` and `count` leave it whole.
_PARTS = {Summary(part.value): part for part in Part}
Pairs = Iterable[tuple[str, str]]


class Returned(StrEnum):
    """What the answer to a write holds (Prefer: return=)."""

    MINIMAL = "minimal"
    REPRESENTATION = "representation"
    OUTCOME = "operationoutcome"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants resources to look like."""

    pretty: bool = False
    summary: Summary = Summary.FALSE
    elements: tuple[str, ...] = ()

    def shaped(self, body: bytes, definitions: Definitions) -> bytes:
        """A stored body with what was asked for left out; not indented."""
        if self.elements:
            return with_elements(body, self.elements, definitions)
        if self.summary in _PARTS:
            return with_summary(body, _PARTS[self.summary], definitions)
        return body

    def written(self, body: bytes) -> bytes:
        """A body as it goes out: digits and escapes stay as they are."""
        return msgspec.json.format(body, indent=INDENT) if self.pretty else body


def request_form(*, others: frozenset[str] = frozenset()) -> Form:
    """The form that the current request asks for, once it is known that it can be answered so.

    Raises NotAcceptable; NotSupported for a parameter that is neither about form nor in
    `others`; BadParameter.
    """
    pairs = list(request.args.items(multi=True))
    require_json(pairs)
    for name, _ in pairs:
        if name not in FORM_PARAMETERS and name not in others:
            raise NotSupported("there is no such parameter here", expression=shown(name))
    return parse_form(pairs)


def require_json(pairs: Pairs) -> None:
    """Raise NotAcceptable unless the current request takes JSON. `_format` goes before Accept."""
    if formats := [value for name, value in pairs if name == "_format"]:
        require_json_format(formats)
    else:
        require_accept(request.headers.get("Accept"), FHIR_JSON, JSON)


def parse_form(pairs: Pairs) -> Form:
    """The form that these parameters ask for; others are passed over. Raises BadParameter."""
    summary = Summary.FALSE
    elements: tuple[str, ...] = ()
    pairs = list(pairs)
    for name, value in pairs:
        if name == "_summary":
            summary = _parse_summary(value)
        elif name == "_elements":
            elements = parse_elements(value)
    return Form(pretty=parse_pretty(pairs), summary=summary, elements=elements)


def parse_pretty(pairs: Pairs) -> bool:
    """Whether the answer is to be indented. Raises BadParameter."""
    values = [value for name, value in pairs if name == "_pretty"]
    if any(value not in ("true", "false") for value in values):
        raise BadParameter("_pretty must be true or false", expression="_pretty")
    return values[-1:] == ["true"]


def request_returned() -> Returned:
    """What the current request prefers in its answer; the resource if it says nothing."""
    wanted = parse_prefer(request.headers.getlist("Prefer")).get("return", "")
    try:
        return Returned(wanted)
    except ValueError:
        return Returned.REPRESENTATION  # a preference that is not known is none (RFC 7240, 2)


def json_response(body: bytes, form: Form, status: int = 200) -> Response:
    """FHIR JSON that is no stored version: a Bundle, Parameters."""
    response = Response(form.written(body), status)
    response.headers["Content-Type"] = FHIR_JSON_UTF8
    return response


def read_response(version: Version, form: Form, definitions: Definitions) -> Response:
    """A version that was read; 304 if the client says that it has it."""
    assert version.body is not None
    headers = request.headers
    if is_not_modified(version, headers.get("If-None-Match"), headers.get("If-Modified-Since")):
        return named(empty_response(304), version)
    body = form.shaped(version.body, definitions)
    return named(json_response(body, form), version)


def write_response(version: Version, status: int, form: Form, definitions: Definitions) -> Response:
    """A version that was written, or found to be there already."""
    assert version.body is not None
    returned = request_returned()
    if returned is Returned.MINIMAL:
        response = empty_response(status)
    elif returned is Returned.OUTCOME:
        name = f"{version.type}/{version.id}"
        text = f"{name} is there as version {version.version}"
        issue = Issue(severity="information", code="processing", diagnostics=text)
        response = outcome_response(status, [issue])
    else:
        response = json_response(form.shaped(version.body, definitions), form, status)
    return named(response, version)


def named(response: Response, version: Version) -> Response:
    """The response with the headers that name a version."""
    response.headers["ETag"] = etag_of(version)
    moment = datetime.fromtimestamp(version.updated_ms // 1000, UTC)
    response.headers["Last-Modified"] = http_date(moment)
    return response


def _parse_summary(value: str) -> Summary:
    if value not in set(Summary) - {Summary.COUNT}:
        raise BadParameter(
            "_summary must be true, text, data or false; count is for searches",
            expression="_summary",
        )
    return Summary(value)
