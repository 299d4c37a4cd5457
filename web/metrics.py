"""Metrics: what Prometheus scrapes. One registry per application, none shared."""

import time
from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from quart import Quart, Request, Response, g, request

from engine.model import ExportJob, ExportStatus
from web.fhir.tenancy import FHIR_PREFIX, TENANT_PREFIX
from web.services import Services

JOBS_LISTED_MAX = 1000  # the newest; older ones are not counted
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
UNMATCHED = "unmatched"  # one label for every address that is none, so that labels are bounded
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
OTHER_METHOD = "other"  # likewise: a client may call a method as it likes


class Metrics:
    """The numbers of one application. None is by tenant: whoever scrapes may not know them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "penstock_http_requests",
            "Requests by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "penstock_http_request_seconds",
            "Time until a response began, by method and route.",
            ["method", "route"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._jobs = Gauge(
            "penstock_export_jobs",
            "Exports by status, of those that are kept.",
            ["status"],
            registry=registry,
        )
        self._done = {
            name: Gauge(
                f"penstock_export_{name}", f"{text}, of those that are kept.", registry=registry
            )
            for name, text in (
                ("parts", "Recorded parts of exports"),
                ("rows", "Resources in recorded parts"),
                ("bytes", "NDJSON bytes in recorded parts"),
            )
        }

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request that was answered."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def count_jobs(self, jobs: Sequence[ExportJob]) -> None:
        """The jobs as they are now."""
        tally = Tally(job.status for job in jobs)
        for status in ExportStatus:
            self._jobs.labels(status.value).set(tally[status])
        self._done["parts"].set(sum(job.progress.parts_done for job in jobs))
        self._done["rows"].set(sum(job.progress.rows_done for job in jobs))
        self._done["bytes"].set(sum(job.progress.bytes_done for job in jobs))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


def route_of(asked: Request) -> str:
    """The template of a request's route, the same for every tenant."""
    if asked.url_rule is None:
        return UNMATCHED
    rule: str = asked.url_rule.rule
    return (
        FHIR_PREFIX + rule.removeprefix(TENANT_PREFIX) if rule.startswith(TENANT_PREFIX) else rule
    )


def method_of(asked: Request) -> str:
    """A request's method, if it is one of those that are told apart."""
    return asked.method if asked.method in METHODS else OTHER_METHOD


def add_metrics(app: Quart, services: Services) -> Metrics:
    """Count an application's requests, and serve the numbers at `/metrics`."""
    metrics = Metrics()

    @app.get("/metrics")
    async def scrape() -> Response:
        metrics.count_jobs(await services.ports.export_jobs.list(None, limit=JOBS_LISTED_MAX))
        response = Response(metrics.text(), 200)
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response

    @app.after_request
    async def count(response: Response) -> Response:
        seconds = time.perf_counter() - g.began
        metrics.count(method_of(request), route_of(request), response.status_code, seconds)
        return response

    return metrics
