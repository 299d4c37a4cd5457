"""Application: puts the blueprints together, and gives every answer its frame.

Whatever goes wrong, a client gets a status and an OperationOutcome; it never gets a
stack trace, another tenant's name or a piece of a resource.
"""

import re
import time

import structlog
import trio
from quart import Blueprint, Request, Response, g, request
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from engine.errors import PenstockError, StartupError
from engine.failure import leaves
from web.fhir.capability import capability_blueprint
from web.fhir.context import FhirContext
from web.fhir.download import download_blueprint
from web.fhir.everything import everything_blueprint
from web.fhir.export import export_blueprint
from web.fhir.history import history_blueprint
from web.fhir.operations import operations_blueprint
from web.fhir.outcome import (
    empty_response,
    error_response,
    failure_response,
    framework_response,
)
from web.fhir.rest import rest_blueprint
from web.fhir.search import search_blueprint
from web.fhir.tenancy import register_fhir, use_converters
from web.fhir.transaction import transaction_blueprint
from web.health import health_blueprint
from web.logs import frames
from web.metrics import add_metrics, method_of, route_of
from web.services import Services
from web.upload import FlowConnection, FlowRequest, Uploads

log = structlog.get_logger()

REQUEST_ID = "X-Request-Id"
REQUEST_ID_BITS = 64
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Kept if a handler has set its own.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class PenstockApp(QuartTrio):
    """The framework with its traps closed; `web/upload.py` says which."""

    request_class = FlowRequest
    asgi_http_class = FlowConnection

    async def handle_user_exception(
        self, error: Exception | BaseExceptionGroup
    ) -> HTTPException | ResponseReturnValue:
        """Answer the one exception of a group that says most. Cancellation goes on its way."""
        causes = [cause for cause in leaves(error) if isinstance(cause, Exception)]
        if not causes or any(isinstance(leaf, trio.Cancelled) for leaf in leaves(error)):
            raise error
        return await super().handle_user_exception(min(causes, key=_rank))

    async def make_default_options_response(self) -> Response:
        """The methods of an address in Allow; there is no body, and so no type of one."""
        response = empty_response(204)
        response.allow.update((await super().make_default_options_response()).allow)
        return response


def create_app(services: Services) -> PenstockApp:
    """The whole HTTP surface, ready to be served."""
    settings = services.settings
    app = PenstockApp("penstock", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.request_bytes_max,
        BODY_TIMEOUT=settings.body_seconds,
        RESPONSE_TIMEOUT=None,  # the server bounds each write; a long download is no fault
        PROPAGATE_EXCEPTIONS=False,
    )
    app.url_map.merge_slashes = False  # it answers with a redirect made from the Host header
    app.url_map.redirect_defaults = False
    use_converters(app)
    _add_frame(app, services)
    add_metrics(app, services)
    uploads = Uploads(bytes_max=settings.request_bytes_max, piece_seconds=settings.body_seconds)
    app.register_blueprint(health_blueprint(services))
    for blueprint in _fhir_blueprints(services, uploads):
        register_fhir(app, blueprint)
    return app


def _fhir_blueprints(services: Services, uploads: Uploads) -> list[Blueprint]:
    context = FhirContext(services, uploads)
    return [
        capability_blueprint(context),
        export_blueprint(services, uploads),
        download_blueprint(services),
        rest_blueprint(context),
        search_blueprint(context),
        history_blueprint(context),
        operations_blueprint(context),
        everything_blueprint(context),
        transaction_blueprint(context),
    ]


def _add_frame(app: PenstockApp, services: Services) -> None:
    """What every request and every answer have in common."""

    @app.before_request
    async def begin() -> None:
        g.began = time.perf_counter()
        g.request_id = _request_id(request, services)

    @app.after_request
    async def end(response: Response) -> Response:
        response.headers[REQUEST_ID] = g.request_id
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        log.info(
            "request",
            request=g.request_id,
            method=method_of(request),
            route=route_of(request),
            status=response.status_code,
            milliseconds=round((time.perf_counter() - g.began) * 1000, 1),
        )
        return response

    @app.errorhandler(PenstockError)
    async def refuse(error: PenstockError) -> Response:
        return error_response(error)

    @app.errorhandler(StartupError)
    async def refuse_store(error: StartupError) -> Response:
        # A store that is opened while we run. Its message is for the operator: it names files.
        log.error("store cannot be used", request=g.request_id, reason=str(error))
        return failure_response()

    @app.errorhandler(HTTPException)
    async def refuse_early(error: HTTPException) -> Response:
        return framework_response(error)

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        log.error(
            "request failed",
            request=g.request_id,
            route=route_of(request),
            error=type(error).__name__,
            where=frames(error),
        )
        return failure_response()


def _request_id(asked: Request, services: Services) -> str:
    given = asked.headers.get(REQUEST_ID, "")
    if _REQUEST_ID.fullmatch(given):
        return given
    return services.ports.entropy.token(REQUEST_ID_BITS)


def _rank(error: BaseException) -> int:
    return next(
        (n for n, k in enumerate((PenstockError, HTTPException)) if isinstance(error, k)), 2
    )
