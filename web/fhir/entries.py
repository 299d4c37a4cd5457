"""Entries: what the entries of a batch or transaction are answered, each like a request alone.

Reads, and the operations of a batch, are requests to this same application: what a client gets
for one alone, it gets here. Source: FHIR R4 http.html#transaction-response.
"""

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import msgspec
from quart import Response, current_app, request
from werkzeug.datastructures import Headers

from engine.bundles.entry import Entry, Method, entry_label
from engine.errors import NotSupported, PenstockError
from engine.fhir.outcome import outcome
from engine.instant import format_instant
from engine.interactions.effect import Done, Effect
from engine.model import Issue
from web.fhir.conditional_requests import etag_of
from web.fhir.negotiation import FHIR_JSON
from web.fhir.outcome import error_response, issues_of
from web.fhir.representation import Returned
from web.upload import flow_body

_STATUS = {Effect.CREATED: 201, Effect.UPDATED: 200, Effect.UNCHANGED: 200}
# What of a Bundle's own request counts for its entries too.
_INHERITED = ("Authorization", "X-Request-Id", "Prefer")
# Where an issue of an entry is, if it says no more than a name.
_OF_ENTRY = "Bundle.entry"


def done_entry(base: str, done: Done, returned: Returned) -> bytes:
    """A write. The resource is only in it if the client prefers that: it has just sent it."""
    version = done.version
    deleted = done.effect in (Effect.DELETED, Effect.NOTHING)
    answer: dict[str, Any] = {"status": _status(204 if deleted else _STATUS[done.effect])}
    before = b""
    if version is not None:
        name = f"{version.type}/{version.id}"
        if not deleted:
            answer["location"] = f"{base}/{name}/_history/{version.version}"
            if returned is Returned.REPRESENTATION:
                assert version.body is not None
                full_url = msgspec.json.encode(f"{base}/{name}")
                before = b'"fullUrl":%b,"resource":%b,' % (full_url, version.body)
        answer["etag"] = etag_of(version)
        answer["lastModified"] = format_instant(version.updated_ms)
    if returned is Returned.OUTCOME:
        text = f"{done.effect.value}: {done.count} resources were changed"
        issue = Issue(severity="information", code="processing", diagnostics=text)
        answer["outcome"] = outcome([issue])
    return b'{%b"response":%b}' % (before, msgspec.json.encode(answer))


def refused_entry(number: int, error: PenstockError) -> bytes:
    """An entry of a batch that was not done, and why."""
    status = error_response(error).status_code
    answer = {"status": _status(status), "outcome": outcome(entry_issues(number, error))}
    return b'{"response":%b}' % msgspec.json.encode(answer)


def entry_issues(number: int, error: PenstockError) -> Sequence[Issue]:
    """The issues of an error, each naming the entry and the element of it."""
    label = entry_label(number)
    return [
        msgspec.structs.replace(
            issue,
            diagnostics=f"{label}: {issue.diagnostics}",
            expression=_expression(label, issue.expression),
        )
        for issue in issues_of(error)
    ]


def _expression(label: str, inner: str | None) -> str:
    """Where in the Bundle something is; `inner` is an element of an entry or of its resource."""
    if inner is None:
        return label
    if inner.startswith(label):
        return inner
    if inner.startswith(_OF_ENTRY):
        return label + inner[len(_OF_ENTRY) :]
    if inner[:1].isupper():
        return f"{label}.resource{inner[len(inner.partition('.')[0]) :]}"
    return label  # a search parameter of its url


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


# Requests to this application itself.


async def asked_entry(entry: Entry) -> bytes:
    """What the application answers to the request that an entry is. Raises NotSupported."""
    if entry.url.startswith("$"):
        raise NotSupported(
            "operations of the whole system are not for Bundles: send this request alone",
            expression="Bundle.entry.request.url",
        )
    answer = await _ask(entry)
    body = await answer.get_data(as_text=False)
    status = answer.status_code
    told: dict[str, Any] = {"status": _status(status)}
    for name, header in (("etag", "ETag"), ("location", "Location")):
        if header in answer.headers:
            told[name] = answer.headers[header]
    if "Last-Modified" in answer.headers:
        moment = parsedate_to_datetime(answer.headers["Last-Modified"]).astimezone(UTC)
        told["lastModified"] = format_instant(int(moment.timestamp()) * 1000)
    if not body or entry.method is Method.HEAD or not _is_fhir(answer):
        return b'{"response":%b}' % msgspec.json.encode(told)
    if status >= HTTPStatus.BAD_REQUEST:
        told["outcome"] = msgspec.Raw(body)
        return b'{"response":%b}' % msgspec.json.encode(told)
    return b'{"resource":%b,"response":%b}' % (body, msgspec.json.encode(told))


async def _ask(entry: Entry) -> Response:
    """Send it in an application context of its own: what is noted about a request must not
    get mixed up with the Bundle's."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    path, _, query = entry.url.partition("?")
    address = f"{request.path.rstrip('/')}/{unquote(path)}".rstrip("/")
    inner = app.request_class(
        str(entry.method),
        request.scheme,
        address,
        query.encode(),
        _headers(entry),
        request.root_path,
        request.http_version,
        {**request.scope, "method": str(entry.method), "path": address},
        send_push_promise=_no_push,
    )
    body = flow_body(inner)
    body.append(entry.text)
    body.set_complete()
    async with app.app_context():
        answer = await app.handle_request(inner)
    assert isinstance(answer, Response)
    return answer


def _headers(entry: Entry) -> Headers:
    headers = Headers({"Accept": FHIR_JSON, "Host": request.host})
    for name in _INHERITED:
        if name in request.headers:
            headers[name] = request.headers[name]
    if entry.if_none_match:
        headers["If-None-Match"] = entry.if_none_match
    if entry.if_modified_since:
        headers["If-Modified-Since"] = entry.if_modified_since
    if entry.text:
        headers["Content-Type"] = FHIR_JSON
    return headers


def _is_fhir(answer: Response) -> bool:
    return answer.headers.get("Content-Type", "").startswith(FHIR_JSON)


async def _no_push(_path: str, _headers: Headers) -> None:
    """Nothing is pushed to a request that came from no connection."""
