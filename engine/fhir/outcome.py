"""OperationOutcome: how the server says what is wrong. Source: FHIR R4, OperationOutcome."""

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.model import Issue


def outcome(issues: Sequence[Issue]) -> dict[str, Any]:
    """An OperationOutcome as plain data, ready to be encoded as JSON."""
    assert issues, "an OperationOutcome has at least one issue"
    return {"resourceType": "OperationOutcome", "issue": [_issue(issue) for issue in issues]}


def outcome_line(issue: Issue) -> bytes:
    """One OperationOutcome as an NDJSON line, newline included."""
    return msgspec.json.encode(outcome([issue])) + b"\n"


def _issue(issue: Issue) -> dict[str, Any]:
    data: dict[str, Any] = {
        "severity": issue.severity,
        "code": issue.code,
        "diagnostics": issue.diagnostics,
    }
    if issue.expression:  # empty if a parameter without a name is to blame
        data["expression"] = [issue.expression]
    return data
