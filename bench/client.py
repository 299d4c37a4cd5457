"""A small export client for the measurements: kick off, poll, read the manifest."""

import time
from typing import Any

import httpx

HEADERS = {"Accept": "application/fhir+json", "Prefer": "respond-async"}


def kick_off(http: httpx.Client, base: str, query: str = "") -> str:
    """Start a system export; the status URL."""
    answer = http.get(f"{base}/fhir/$export{query}", headers=HEADERS)
    if answer.status_code != 202:
        raise SystemExit(f"kick-off answered {answer.status_code}: {answer.text}")
    return str(answer.headers["Content-Location"])


def wait(http: httpx.Client, status_url: str, *, pause: float = 0.05) -> dict[str, Any]:
    """Poll until the export is complete; the manifest."""
    while True:
        answer = http.get(status_url)
        if answer.status_code == 200:
            return dict(answer.json())
        if answer.status_code != 202:
            raise SystemExit(f"status answered {answer.status_code}: {answer.text}")
        time.sleep(pause)


def job_of(status_url: str) -> str:
    return status_url.rsplit("/", 1)[-1]
