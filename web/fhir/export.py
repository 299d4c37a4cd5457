"""$export: kick-off, status and deletion of exports (bulk-data.md 1.2 to 1.8)."""

import re
from http import HTTPStatus

import msgspec
import structlog
from flask.sansio.blueprints import BlueprintSetupState
from quart import Blueprint, Response, request
from werkzeug.http import http_date

from engine.errors import BadRequest, NotFound, NotSupported
from engine.export.kickoff import kick_off
from engine.export.manifest import manifest
from engine.export.request import SinceInFuture, parse_export_request
from engine.fhir.types import R4_TYPES
from engine.messages import CancelJob, Wake
from engine.model import ExportJob, ExportRequest, ExportStatus, JobId
from engine.tenant import TenantId
from web.fhir.negotiation import (
    FHIR_JSON,
    JSON,
    parse_prefer,
    require_accept,
    require_json_body,
)
from web.fhir.outcome import empty_response, information, outcome_response
from web.fhir.parameters import parse_parameters
from web.fhir.polling import PollLimit
from web.fhir.progress import progress_text, retry_after_s
from web.fhir.tenancy import current_tenant, tenant_base
from web.services import Services
from web.upload import Uploads

log = structlog.get_logger()

STATUS_OPERATION = "$export-status"
KICK_OFF_METHODS = ("GET", "POST")
PARAMETERS_BYTES_MAX = 1 << 20  # of a kick-off's body
RESPOND_ASYNC, SEPARATE_STATUS = "respond-async", "separate-export-status"
_JOB_ID = re.compile(r"[0-9a-f]{32}")


def export_blueprint(services: Services, uploads: Uploads) -> Blueprint:
    """The routes of system-level exports, below a FHIR base."""
    blueprint = Blueprint("export", __name__)
    api = ExportApi(services, uploads)
    blueprint.add_url_rule("/$export", view_func=api.kick_off, methods=KICK_OFF_METHODS)
    for level in ("/Patient/$export", "/Group/<id>/$export"):
        blueprint.add_url_rule(level, view_func=_refuse_level, methods=KICK_OFF_METHODS)
    blueprint.record(_refuse_head)
    status = f"/{STATUS_OPERATION}/<job>"
    blueprint.add_url_rule(status, view_func=api.status, methods=["GET"])
    blueprint.add_url_rule(status, view_func=api.delete, methods=["DELETE"])
    return blueprint


class ExportApi:
    """The handlers."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        self._services = services
        self._uploads = uploads
        self._polls = PollLimit(
            services.ports.clock.boottime,
            per_second=services.settings.polls_per_second,
            burst=services.settings.polls_burst,
        )

    async def kick_off(self) -> Response:
        """Everything that can be refused is refused before the cut, so that nothing is left."""
        services, tenant = self._services, current_tenant()
        require_accept(request.headers.get("Accept"), FHIR_JSON)
        preferences = parse_prefer(request.headers.getlist("Prefer"))
        if RESPOND_ASYNC not in preferences:
            raise BadRequest("an export runs in the background: send 'Prefer: respond-async'")
        parameters = list(request.args.items(multi=True)) + await self._body_parameters()
        lenient = preferences.get("handling") == "lenient"
        wanted = await self._parse(tenant, parameters, lenient=lenient)
        applied = [name for name in (RESPOND_ASYNC, SEPARATE_STATUS) if name in preferences]
        wanted = msgspec.structs.replace(wanted, separate_status=SEPARATE_STATUS in applied)
        job = await kick_off(services.ports, services.limits, tenant, wanted)
        services.tell(Wake())
        log.info("export accepted", job=job.id, tenant=tenant)
        address = f"{tenant_base(services, tenant)}/{STATUS_OPERATION}/{job.id}"
        return information(
            202,
            "the export was accepted; its status is at the Content-Location of this answer",
            {"Content-Location": address, "Preference-Applied": ", ".join(applied)},
        )

    async def status(self, job: str) -> Response:
        """202 while it runs, 200 with the manifest, or what it failed of."""
        tenant = current_tenant()
        # Before the store is asked: a poll in vain costs it nothing.
        self._polls.take(tenant, _parse_job_id(job))
        found = await self._find(tenant, job)
        if found.status is ExportStatus.ERROR:
            assert found.issue is not None
            response = outcome_response(500, [found.issue])
        elif found.status is not ExportStatus.COMPLETE or self._too_young(found):
            response = self._in_progress(found)
        else:
            response = await self._complete(tenant, found)
        return _separated(response) if found.request.separate_status else response

    async def delete(self, job: str) -> Response:
        """Stop it, and remove its files. From then on there is no such job (E72)."""
        tenant = current_tenant()
        found = await self._find(tenant, job)
        await self._services.ports.export_jobs.delete(tenant, found.id)
        self._services.tell(CancelJob(found.id))
        log.info("export deleted", job=found.id, tenant=tenant)
        return information(202, "the export was deleted; its files are being removed")

    async def _body_parameters(self) -> list[tuple[str, str]]:
        """Those of a POST's body; a body may be missing (D13)."""
        if request.method != "POST":
            return []
        async with self._uploads.whole_body(request, bytes_max=PARAMETERS_BYTES_MAX) as raw:
            if not raw.strip():
                return []
            require_json_body(request.headers.get("Content-Type"))
            return parse_parameters(raw)

    async def _parse(
        self, tenant: TenantId, parameters: list[tuple[str, str]], *, lenient: bool
    ) -> ExportRequest:
        services = self._services
        query = request.query_string.decode("latin-1")
        url = f"{tenant_base(services, tenant)}/$export{'?' if query else ''}{query}"
        now_ms = services.ports.clock.now_ms()
        try:
            return parse_export_request(
                parameters, lenient=lenient, url=url, now_ms=now_ms, known_types=R4_TYPES
            )
        except SinceInFuture:
            # Where the clock stepped back, the transactionTime of the export before is still
            # ahead of it, and is what a client rightly sends.
            store = await services.ports.tenants.store(tenant)
            cut_ms = (await store.statistics()).cut_ms
            return parse_export_request(
                parameters,
                lenient=lenient,
                url=url,
                now_ms=max(now_ms, cut_ms),
                known_types=R4_TYPES,
            )

    async def _find(self, tenant: TenantId, job: str) -> ExportJob:
        """The job as its owner may see it. Raises NotFound, also for cancelled and expired."""
        found = await self._services.ports.export_jobs.get(tenant, _parse_job_id(job))
        if found.status is ExportStatus.CANCELLED or self._expired(found):
            raise NotFound("there is no such export")
        return found

    def _expired(self, job: ExportJob) -> bool:
        now_ms = self._services.ports.clock.now_ms()
        return job.expires_ms is not None and job.expires_ms <= now_ms

    def _too_young(self, job: ExportJob) -> bool:
        """Some clients take a first answer other than 202 for a failure (D6)."""
        age_ms = self._services.ports.clock.now_ms() - job.created_ms
        return 0 <= age_ms < self._services.settings.min_job_age_seconds * 1000

    def _in_progress(self, job: ExportJob) -> Response:
        age_s = (self._services.ports.clock.now_ms() - job.created_ms) / 1000
        response = empty_response(202)
        response.headers["X-Progress"] = progress_text(job)
        response.headers["Retry-After"] = str(retry_after_s(job, age_s))
        return response

    async def _complete(self, tenant: TenantId, job: ExportJob) -> Response:
        parts = await self._services.ports.export_jobs.parts(tenant, job.id)
        data = manifest(job, parts, base=tenant_base(self._services, tenant))
        response = Response(msgspec.json.encode(data), 200)
        response.headers["Content-Type"] = JSON
        if job.expires_ms is not None:
            response.headers["Expires"] = http_date(job.expires_ms // 1000)
        return response


def _parse_job_id(text: str) -> JobId:
    if not _JOB_ID.fullmatch(text):
        raise NotFound("there is no such export")
    return JobId(text)


def _separated(response: Response) -> Response:
    """The same answer with the status of the job in a header, and that of the request in its
    place (E23)."""
    status = HTTPStatus(response.status_code)
    response.headers["X-Export-Status"] = f"{status.value} {status.phrase}"
    response.status_code = 200
    return response


def _refuse_head(state: BlueprintSetupState) -> None:
    """The framework takes HEAD for GET. It must not start anything (RFC 9110, 9.2.1), and there
    is nothing else that it could do here."""
    for rule in state.app.url_map.iter_rules():
        if rule.rule.endswith("/$export") and rule.methods is not None:
            rule.methods.discard("HEAD")


async def _refuse_level(**_: str) -> Response:
    raise NotSupported("only the system level is exported here: use [base]/$export")
