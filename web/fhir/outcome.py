"""Outcome: every error as an HTTP status and an OperationOutcome that says what to do."""

from collections.abc import Mapping, Sequence

import msgspec
from quart import Response
from werkzeug.exceptions import HTTPException

from engine.errors import (
    BadRequest,
    Conflict,
    DeadlinePassed,
    Gone,
    IssueCode,
    MultipleMatches,
    NotFound,
    PatchFailed,
    PenstockError,
    ReferenceUnresolved,
    ResourceInvalid,
    ResourceTooLarge,
    TooMany,
    Transient,
    VersionMismatch,
)
from engine.fhir.outcome import outcome
from engine.interactions.intake import StructureInvalid
from engine.model import Issue
from web.fhir.negotiation import FHIR_JSON_UTF8

# One text for all: a thing of another tenant, a tenant that is not there and an address
# that never was must look the same.
NOTHING_HERE = (
    "there is nothing at this address: check the resource type, the id and the job; "
    "what was deleted or has expired looks the same"
)
TRANSIENT_RETRY_SECONDS = 5

# The first kind that fits counts.
_STATUS: tuple[tuple[type[PenstockError], int], ...] = (
    (PatchFailed, 422),
    (StructureInvalid, 422),
    (BadRequest, 400),
    (ResourceTooLarge, 413),
    (ResourceInvalid, 400),
    (NotFound, 404),
    (Gone, 410),
    (VersionMismatch, 412),
    (MultipleMatches, 412),
    (ReferenceUnresolved, 412),
    (Conflict, 409),
    (DeadlinePassed, 504),
    (TooMany, 429),
    (Transient, 503),
)
_CODE_OF_STATUS: dict[int, IssueCode] = {
    400: "invalid",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    408: "timeout",
    413: "too-long",
    415: "not-supported",
    429: "throttled",
}


def outcome_response(
    status: int, issues: Sequence[Issue], headers: Mapping[str, str] | None = None
) -> Response:
    """An OperationOutcome as a response."""
    response = Response(msgspec.json.encode(outcome(issues)), status, dict(headers or {}))
    response.headers["Content-Type"] = FHIR_JSON_UTF8
    return response


def empty_response(status: int) -> Response:
    """A response without a body, and so without a type."""
    response = Response(b"", status)
    del response.headers["Content-Type"]
    return response


def information(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response that only says that all is well."""
    issue = Issue(severity="information", code="processing", diagnostics=text)
    return outcome_response(status, [issue], headers)


def error_response(error: PenstockError) -> Response:
    """What a client is told of one of our own errors."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, Transient):
        headers["Retry-After"] = str(TRANSIENT_RETRY_SECONDS)
    return outcome_response(status, issues_of(error), headers)


def issues_of(error: PenstockError) -> Sequence[Issue]:
    """One of our own errors as issues."""
    return error.issues if isinstance(error, StructureInvalid) else [issue_of(error)]


def issue_of(error: PenstockError) -> Issue:
    """One of our own errors as an issue."""
    if isinstance(error, NotFound):
        return Issue(code=error.code, diagnostics=NOTHING_HERE)
    code = error.issue_code if isinstance(error, ResourceInvalid) else error.code
    expression = error.expression if isinstance(error, BadRequest | ResourceInvalid) else None
    text = f"the resource {error}" if isinstance(error, ResourceInvalid) else str(error)
    if isinstance(error, ResourceTooLarge):
        text = f"the resource is {error}"
    return Issue(code=code, diagnostics=text, expression=expression)


def framework_response(error: HTTPException) -> Response:
    """What a client is told of an error that the framework found, or that has no type of ours."""
    status = error.code or 500
    code = _CODE_OF_STATUS.get(status, "invalid" if status < 500 else "exception")
    text = NOTHING_HERE if status == 404 else error.description or f"the status is {status}"
    headers = {}
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        headers["Allow"] = ", ".join(sorted(allowed))
        text = f"this address takes only {headers['Allow']}"
    return outcome_response(status, [Issue(code=code, diagnostics=text)], headers)


def failure_response() -> Response:
    """What a client is told of a fault of ours: nothing but that it is one."""
    text = "the server has a fault; its log has more under the X-Request-Id of this answer"
    return outcome_response(500, [Issue(severity="fatal", code="exception", diagnostics=text)])
