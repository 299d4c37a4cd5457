"""Bundle: searchsets and histories put together from stored bodies, without parsing any.

Sources: FHIR R4 bundle.html, http.html#search and #history.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from engine.fhir.outcome import outcome
from engine.instant import format_instant
from engine.model import Issue, Version
from web.fhir.conditional_requests import etag_of

SearchMode = Literal["match", "include", "outcome"]
Link = tuple[str, str]  # relation and url


def bundle(
    type: str, entries: Sequence[bytes], *, links: Sequence[Link], total: int | None, now_ms: int
) -> bytes:
    """A Bundle as bytes. `entries` are objects. There is no list that is empty: FHIR has none."""
    pieces = [
        b'{"resourceType":"Bundle","meta":{"lastUpdated":"%b"},"type":"%b"'
        % (format_instant(now_ms).encode(), type.encode())
    ]
    if total is not None:
        pieces.append(b',"total":%d' % total)
    if links:
        named = [{"relation": relation, "url": url} for relation, url in links]
        pieces.append(b',"link":%b' % msgspec.json.encode(named))
    if entries:
        pieces.append(b',"entry":[%b]' % b",".join(entries))
    pieces.append(b"}")
    return b"".join(pieces)


def search_entry(base: str, version: Version, body: bytes, mode: SearchMode) -> bytes:
    """A resource that was found, or is included."""
    return b'{"fullUrl":%b,"resource":%b,"search":{"mode":"%b"}}' % (
        _full_url(base, version),
        body,
        mode.encode(),
    )


def outcome_entry(issues: Sequence[Issue]) -> bytes:
    """What a search has to say beside its matches."""
    return b'{"resource":%b,"search":{"mode":"outcome"}}' % msgspec.json.encode(outcome(issues))


def history_entry(base: str, version: Version, body: bytes | None) -> bytes:
    """One version with the request that would make it again, and what was answered.

    The first version is shown as a PUT too: who repeats a history must keep the ids.
    """
    name = f"{version.type}/{version.id}"
    if version.deleted:
        method, status = "DELETE", "204"
    else:
        method, status = "PUT", "201" if version.version == 1 else "200"
    response = {
        "status": status,
        "etag": etag_of(version),
        "lastModified": format_instant(version.updated_ms),
    }
    resource = b"" if body is None else b',"resource":%b' % body
    return b'{"fullUrl":%b%b,"request":%b,"response":%b}' % (
        _full_url(base, version),
        resource,
        msgspec.json.encode({"method": method, "url": name}),
        msgspec.json.encode(response),
    )


def _full_url(base: str, version: Version) -> bytes:
    """As JSON, quotes included."""
    return msgspec.json.encode(f"{base}/{version.type}/{version.id}")
