"""Binary: content of any type, raw or as a resource.

A read answers the content itself unless FHIR JSON is asked for; a write of anything but FHIR JSON
makes the resource around it. Source: FHIR R4 binary.html#rest, http.html#binary.
"""

import base64
import binascii
import re
from collections.abc import Callable
from functools import partial

import msgspec
from quart import Response, request
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.http import parse_options_header

from engine.errors import BadRequest
from engine.model import Version
from web.fhir.conditional_requests import is_not_modified
from web.fhir.negotiation import FHIR_JSON, JSON, parse_accept, require_accept
from web.fhir.outcome import empty_response
from web.fhir.representation import named

BINARY = "Binary"
SECURITY_CONTEXT = "X-Security-Context"
MEDIA_TYPE_CHARACTERS_MAX = 256
# Content is anybody's. It is shown by no browser as a page of this origin, and runs nothing.
CONTENT_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
UNKNOWN_TYPE = "application/octet-stream"

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:\s*;[\x20-\x7e]*)?")
_REFERENCE = re.compile(r"[\x21-\x7e]{1,2000}")


class _Content(msgspec.Struct):
    """What of a Binary its raw form is made of."""

    contentType: str = UNKNOWN_TYPE  # noqa: N815 -- FHIR's name
    data: str = ""
    securityContext: msgspec.Raw = msgspec.Raw()  # noqa: N815 -- FHIR's name


class _Context(msgspec.Struct):
    reference: str = ""


_decoder = msgspec.json.Decoder(_Content)
_context = msgspec.json.Decoder(_Context)


def wants_content(type: str) -> bool:
    """Whether the current read is of a Binary's content, and not of the resource: FHIR JSON is
    not among the types that Accept names, and no parameter says what a resource is to be like."""
    if type != BINARY or request.args:
        return False
    named_types = {item.type for item in parse_accept(request.headers.get("Accept") or "")}
    return named_types.isdisjoint({FHIR_JSON, JSON})


def content_response(version: Version) -> Response:
    """The content of a Binary as it is. Raises NotAcceptable; BadRequest if it holds none that
    can be given so, which only a server that did not validate can have let in."""
    assert version.body is not None
    headers = request.headers
    if is_not_modified(version, headers.get("If-None-Match"), headers.get("If-Modified-Since")):
        return named(empty_response(304), version)
    try:
        content = _decoder.decode(version.body)
        data = base64.b64decode("".join(content.data.split()), validate=True)
    except (msgspec.ValidationError, binascii.Error, ValueError):
        raise BadRequest(
            f"the content cannot be given as it is: send 'Accept: {FHIR_JSON}'"
        ) from None
    sound = _MEDIA_TYPE.fullmatch(content.contentType) is not None
    content_type = content.contentType if sound else UNKNOWN_TYPE
    require_accept(headers.get("Accept"), content_type.partition(";")[0].strip().lower())
    response = Response(data, 200)
    response.headers["Content-Type"] = content_type
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    response.headers["Content-Disposition"] = "attachment"
    reference = _security_reference(content)
    if reference is not None:
        response.headers[SECURITY_CONTEXT] = reference
    return named(response, version)


def sends_content(type: str) -> bool:
    """Whether the body of the current write is the content of a Binary, and not a resource."""
    if type != BINARY:
        return False
    return _media_type() not in (FHIR_JSON, JSON)


def content_wrapper(id: str = "") -> Callable[[bytes], bytes]:
    """What makes a Binary, of this id if one is given, of the current request's body. Raises
    UnsupportedMediaType, BadRequest."""
    content_type = request.headers.get("Content-Type", "").strip()
    if len(content_type) > MEDIA_TYPE_CHARACTERS_MAX or not _MEDIA_TYPE.fullmatch(content_type):
        raise UnsupportedMediaType(
            "say what the content is, such as 'Content-Type: application/pdf'; a Binary resource "
            f"is sent as {FHIR_JSON}"
        )
    reference = request.headers.get(SECURITY_CONTEXT)
    if reference is not None and not _REFERENCE.fullmatch(reference):
        raise BadRequest(f"{SECURITY_CONTEXT} must be a reference such as DocumentReference/1")
    return partial(wrapped, content_type=content_type, security_context=reference, id=id)


def wrapped(raw: bytes, *, content_type: str, security_context: str | None, id: str = "") -> bytes:
    """A Binary around a content, as JSON."""
    members: dict[str, object] = {"resourceType": BINARY}
    if id:
        members["id"] = id
    members["contentType"] = content_type
    if security_context is not None:
        members["securityContext"] = {"reference": security_context}
    if raw:
        members["data"] = base64.b64encode(raw).decode("ascii")
    return msgspec.json.encode(members)


def _media_type() -> str:
    return parse_options_header(request.headers.get("Content-Type", ""))[0].strip().lower()


def _security_reference(content: _Content) -> str | None:
    if not bytes(content.securityContext):
        return None
    try:
        reference = _context.decode(content.securityContext).reference
    except msgspec.ValidationError:
        return None
    return reference if _REFERENCE.fullmatch(reference) else None
