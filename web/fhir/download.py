"""Download of export files: `[base]/$export-file/{job}/{Type}-{n}.ndjson` (E74 to E78).

A name is looked up in the job's recorded parts and never becomes part of a path. Only
a finished export's files exist for readers, whatever already lies in the store.
"""

import re
from collections.abc import AsyncGenerator

import trio
from quart import Blueprint, Response, request

from backends.door import Door, ThreadDoor
from engine.errors import NotFound, VersionMismatch
from engine.export.filenames import parse_file_name
from engine.export.manifest import FILE_OPERATION
from engine.model import ExportStatus, Issue, JobId, StoredFile
from engine.ports import OutputStore, PartReader
from engine.tenant import TenantId
from web.fhir.conditional import (
    Precondition,
    Representation,
    Span,
    Unsatisfiable,
    check_preconditions,
    choose_coding,
    choose_span,
    representation,
)
from web.fhir.negotiation import require_accept
from web.fhir.outcome import outcome_response
from web.fhir.tenancy import current_tenant
from web.fhir.transcode import deflated, inflated
from web.services import Services

FHIR_NDJSON = "application/fhir+ndjson"
NDJSON = "application/ndjson"
TRANSCODERS_MAX = 2  # threads

_JOB = re.compile(r"[0-9A-Za-z-]{1,64}")


def download_blueprint(services: Services) -> Blueprint:
    """The rule below `[base]`, for `register_fhir`."""
    blueprint = Blueprint("export_file", __name__)
    rule = f"/{FILE_OPERATION}/<job>/<name>"
    blueprint.add_url_rule(rule, view_func=Downloads(services).get, methods=["GET"])
    return blueprint


class Downloads:
    """Answers GET and HEAD for one file."""

    def __init__(self, services: Services) -> None:
        self._ports = services.ports
        self._transcoders = ThreadDoor(trio.CapacityLimiter(TRANSCODERS_MAX))

    async def get(self, job: str, name: str) -> Response:
        """Raises NotFound, NotAcceptable, VersionMismatch, OutputUnavailable."""
        asked = request.headers
        require_accept(asked.get("Accept"), FHIR_NDJSON, NDJSON)
        file = await self._find(current_tenant(), job, name)
        coding = choose_coding(asked.get("Accept-Encoding"), file.coding)
        chosen = representation(file, coding)
        verdict = check_preconditions(
            chosen.etag, asked.get("If-Match"), asked.get("If-None-Match")
        )
        if verdict is Precondition.FAILED:
            raise VersionMismatch("the file is not the one that If-Match names")
        if verdict is Precondition.NOT_MODIFIED:
            return _without_body(304, _validators(chosen))
        if request.method == "HEAD":
            return await self._describe(file, chosen, name)
        try:
            span = choose_span(chosen, asked.get("Range"), asked.get("If-Range"))
        except Unsatisfiable:
            return _unsatisfiable(chosen)
        return await self._send(file, chosen, name, span)

    async def _find(self, tenant: TenantId, job: str, name: str) -> StoredFile:
        """The recorded file of a finished export. Raises NotFound for all that is none."""
        kind, type, index = parse_file_name(name)
        if not _JOB.fullmatch(job):
            raise NotFound("there is no such export")
        jobs = self._ports.export_jobs
        found = await jobs.get(tenant, JobId(job))
        expired = found.expires_ms is not None and found.expires_ms <= self._ports.clock.now_ms()
        if found.status is not ExportStatus.COMPLETE or expired:
            raise NotFound("the export is not finished, or has expired")
        part = await jobs.part(tenant, found.id, kind, type, index)
        assert part.file is not None and part.token <= found.token, "recorded by nobody's lease"
        return part.file

    async def _describe(self, file: StoredFile, chosen: Representation, name: str) -> Response:
        """The headers alone, of a file that is there."""
        async with self._ports.outputs.read_part(file):
            return _without_body(200, _headers(chosen, name, None))

    async def _send(
        self, file: StoredFile, chosen: Representation, name: str, span: Span | None
    ) -> Response:
        reader = await _open_for_request(self._ports.outputs, file, span)
        response = Response(
            _blocks(reader, file, chosen, self._transcoders),
            status=200 if span is None else 206,
            headers=_headers(chosen, name, span),
        )
        response.timeout = None  # of the framework, for the whole body
        return response


async def _open_for_request(
    outputs: OutputStore, file: StoredFile, span: Span | None
) -> PartReader:
    """Open a file now, so that a missing one is an error and no cut body, and close it when
    the request's nursery ends: whether the body was sent, cut off or never begun."""
    nursery = trio.lowlevel.current_task().parent_nursery
    assert nursery is not None, "a request is handled in a nursery of its own"
    reader: PartReader = await nursery.start(_hold_open, outputs, file, span)
    return reader


async def _hold_open(
    outputs: OutputStore,
    file: StoredFile,
    span: Span | None,
    task_status: trio.TaskStatus[PartReader],
) -> None:
    start, stop = span or (0, None)
    async with outputs.read_part(file, start=start, stop=stop) as reader:
        task_status.started(reader)
        await trio.sleep_forever()


async def _at_rest(reader: PartReader) -> AsyncGenerator[bytes, None]:
    while block := await reader.read():
        yield block


def _blocks(
    reader: PartReader, file: StoredFile, chosen: Representation, door: Door
) -> AsyncGenerator[bytes, None]:
    if chosen.at_rest:
        return _at_rest(reader)
    return deflated(reader, door) if chosen.coding else inflated(reader, door, file.bytes)


def _without_body(status: int, headers: dict[str, str]) -> Response:
    response = Response(b"", status)
    del response.headers["Content-Length"]  # of a body that GET would have, or of none
    response.headers.update(headers)
    return response


def _validators(chosen: Representation) -> dict[str, str]:
    """What every answer about a representation says."""
    return {"ETag": chosen.etag, "Vary": "Accept-Encoding", "Cache-Control": "no-store"}


def _headers(chosen: Representation, name: str, span: Span | None) -> dict[str, str]:
    headers = {
        **_validators(chosen),
        "Content-Type": FHIR_NDJSON,
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes" if chosen.at_rest else "none",
    }
    if chosen.coding:
        headers["Content-Encoding"] = chosen.coding
    size = chosen.size
    if span is not None:
        assert size is not None
        headers["Content-Range"] = span.content_range(size)
        size = span.stop - span.start
    if size is not None:
        headers["Content-Length"] = str(size)
    return headers


def _unsatisfiable(chosen: Representation) -> Response:
    """Says how long the file is, so that the client can ask again (RFC 9110, 15.5.17)."""
    text = f"the file has {chosen.size} bytes, and the Range names none of them"
    headers = {"Content-Range": f"bytes */{chosen.size}", "Vary": "Accept-Encoding"}
    return outcome_response(416, [Issue(code="value", diagnostics=text)], headers)
