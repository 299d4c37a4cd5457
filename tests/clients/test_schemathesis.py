"""Requests without end, made by schemathesis from openapi.json: none is a fault of the server.

`positive` requests are as the description says, so that they reach far; `negative` ones break
it on purpose, each in one place. openapi.json says only what these tests need to make requests;
what a server does is in its CapabilityStatement.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import serving
from tests.rest.server import FhirServer
from tests.support.ports import memory_ports

DESCRIPTION = Path(__file__).with_name("openapi.json")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",  # whatever is refused is refused by an OperationOutcome
)
PHASES = {"positive": "fuzzing", "negative": "coverage,fuzzing"}
RUN_SECONDS = 18  # of each mode
END_SECONDS_MAX = 60  # a run takes a little longer than it is told
REQUESTS_MIN = 200
PREFIX = "/fhir"


@pytest.fixture(scope="module")
def description() -> Any:
    return json.loads(DESCRIPTION.read_bytes())


@pytest.mark.parametrize("mode", PHASES)
def test_no_request_is_a_fault_and_every_refusal_is_an_outcome(mode: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    store = tmp_path / "store"
    store.mkdir()
    with serving(store) as base:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", str(DESCRIPTION)),
                *("--url", base, "--mode", mode, "--phases", PHASES[mode]),
                *("--checks", ",".join(CHECKS), "--max-time", str(RUN_SECONDS)),
                *("--report", "json", "--report-json-path", str(report)),
                *("--no-shrink", "--continue-on-failure", "--no-color", "--warnings", "off"),
            ],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=END_SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout
        assert httpx.get(f"{base}/metadata", trust_env=False).status_code == 200
    found = json.loads(report.read_bytes())
    assert found["test_cases"]["generated"] > REQUESTS_MIN
    assert found["operations"]["tested"] == found["operations"]["total"]
    assert "request failed" not in (store / "serve.log").read_text(errors="replace")


async def test_the_description_names_every_route_of_the_rest_api(description: Any) -> None:
    async with memory_ports() as ports:
        rules = list(FhirServer.of(ports).app.url_map.iter_rules())
    exports = re.compile(r".*\$(export|bulk)|.*/(files?|download)")
    wired = {
        (method, _generic(rule.rule))
        for rule in rules
        if rule.rule.startswith(PREFIX) and "tenant_words" not in rule.rule
        if not exports.match(rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (method.upper(), path)
        for path, operations in description["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert wired - described == set()


def _generic(rule: str) -> str:
    """A rule of the application as a path of the description."""
    path = rule.removeprefix(PREFIX) or "/"
    path = re.sub(r"<(?:fhir_type:)?(\w+)>", r"{\1}", path)
    return path.replace("{id}/*", "{id}/{inner}")
