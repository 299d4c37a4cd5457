"""Parameters: the resource in which operations take their input, as names and texts."""

from typing import Any

import msgspec

from engine.errors import BadRequest, ResourceInvalid

_EXPECTED = 'send a Parameters resource: {"resourceType":"Parameters","parameter":[...]}'


def parse_parameters(raw: bytes) -> list[tuple[str, str]]:
    """Names and values of a Parameters resource, in order.

    Any value[x] is taken, since clients differ in which one they send (D13). Raises
    BadRequest, ResourceInvalid; no message quotes the body.
    """
    try:
        body: Any = msgspec.json.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise ResourceInvalid("is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        raise ResourceInvalid(f"is not JSON; {_EXPECTED}") from None
    if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
        raise BadRequest(f"the body is not Parameters; {_EXPECTED}")
    parameters = body.get("parameter", [])
    if not isinstance(parameters, list):
        raise BadRequest("Parameters.parameter is not a list", expression="Parameters.parameter")
    return [_parameter(entry) for entry in parameters]


def _parameter(entry: object) -> tuple[str, str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadRequest("a parameter has no name", expression="Parameters.parameter.name")
    values = [value for key, value in entry.items() if key.startswith("value")]
    if len(values) > 1:
        raise BadRequest(
            "a parameter has more than one value[x]", expression="Parameters.parameter.value"
        )
    return entry["name"], _text(values[0]) if values else ""


def _text(value: object) -> str:
    """A value as a query string would have it; empty if it has no such form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, dict):
        text = value.get("code", value.get("reference", ""))  # Coding, Reference
        return text if isinstance(text, str) else ""
    return ""
