"""Health: is the process alive, and can it do its work now."""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog
import trio
from quart import Blueprint, Response

from engine.errors import PenstockError, StartupError
from web.services import Services

log = structlog.get_logger()

READY_SECONDS_MAX = 5.0


def health_blueprint(services: Services) -> Blueprint:
    """`/healthz` and `/readyz`."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    async def healthz() -> Response:
        return _answer(200, "alive")

    @blueprint.get("/readyz")
    async def readyz() -> Response:
        if not services.ready():
            return _answer(503, "starting or stopping")
        trouble = await _trouble(services)
        return _answer(503, trouble) if trouble else _answer(200, "ready")

    return blueprint


async def _trouble(services: Services) -> str:
    """What keeps this process from working, in words that tell an outsider little."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "store": partial(_check_stores, services),
        "output": services.ports.outputs.check,
    }
    for name, check in checks.items():
        reason = "slow"
        with trio.move_on_after(READY_SECONDS_MAX):
            try:
                await check()
                continue
            except PenstockError as error:
                reason = str(error)
        log.warning("not ready", name=name, reason=reason)
        return f"{name} unavailable"
    return ""


async def _check_stores(services: Services) -> None:
    """One tenant stands for all, for they lie side by side; but not one whose own file is
    damaged, as the others can be served."""
    await services.ports.export_jobs.list(None, limit=1)
    damaged: StartupError | None = None
    for tenant in await services.ports.tenants.list():
        try:
            store = await services.ports.tenants.store(tenant.id)
            await store.pins()
        except StartupError as error:
            damaged = error
        else:
            return
    if damaged is not None:
        raise damaged


def _answer(status: int, text: str) -> Response:
    response = Response(msgspec.json.encode({"status": text}), status)
    response.headers["Content-Type"] = "application/json"
    return response
