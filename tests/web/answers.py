"""Reads answers in tests."""

from typing import Any

import msgspec
from quart import Response

FHIR_JSON = "application/fhir+json; charset=utf-8"


async def json_of(response: Response) -> Any:
    """The decoded body."""
    return msgspec.json.decode(await response.get_data())


async def issue_of(response: Response) -> dict[str, Any]:
    """The only issue of an answer that is an OperationOutcome (E45)."""
    assert response.headers["Content-Type"] == FHIR_JSON
    outcome = await json_of(response)
    assert outcome["resourceType"] == "OperationOutcome"
    (issue,) = outcome["issue"]
    assert issue["diagnostics"]
    return dict(issue)
