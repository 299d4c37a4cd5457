"""Bundles as a client sends them, to the whole application."""

import base64
import json
from typing import Any

import msgspec

from tests.rest.server import Answer, FhirServer

URN = "urn:uuid:00000000-0000-4000-8000-0000000000"


def urn(number: int) -> str:
    """The fullUrl of an entry without an address."""
    return f"{URN}{number:02d}"


def entry(
    method: str,
    url: str,
    resource: dict[str, Any] | None = None,
    *,
    full_url: str | None = None,
    **request: str,
) -> dict[str, Any]:
    """One entry. `request`: more members of its request, such as ifMatch."""
    made: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    if full_url is not None:
        made["fullUrl"] = full_url
    return made


def post(resource: dict[str, Any], full_url: str | None = None, **request: str) -> dict[str, Any]:
    return entry("POST", resource["resourceType"], resource, full_url=full_url, **request)


def put(resource: dict[str, Any], full_url: str | None = None, **request: str) -> dict[str, Any]:
    url = f"{resource['resourceType']}/{resource['id']}"
    return entry("PUT", url, resource, full_url=full_url, **request)


def patch(url: str, *operations: dict[str, Any], **request: str) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(operations).encode()).decode()
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": data,
    }
    return entry("PATCH", url, binary, **request)


def bundle(kind: str, *entries: dict[str, Any]) -> bytes:
    made = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    return msgspec.json.encode(made)


async def transact(server: FhirServer, *entries: dict[str, Any], **headers: str) -> Answer:
    return await server.post("", bundle("transaction", *entries), **headers)


async def batch(server: FhirServer, *entries: dict[str, Any], **headers: str) -> Answer:
    return await server.post("", bundle("batch", *entries), **headers)


def statuses(answer: Answer) -> list[str]:
    """The status codes of all entries."""
    assert answer.status == 200, answer.body
    return [one["response"]["status"][:3] for one in answer.json["entry"]]


def name_of(answer: Answer, number: int) -> str:
    """`Type/id` of what an entry wrote."""
    location = answer.json["entry"][number]["response"]["location"]
    return "/".join(location.split("/_history/")[0].split("/")[-2:])


async def stored(server: FhirServer, answer: Answer, number: int) -> Any:
    """What the store holds of what an entry wrote."""
    return await server.stored(*name_of(answer, number).split("/"))
