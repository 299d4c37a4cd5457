"""Conditional requests on resources: what ETags and dates in headers ask for.

Pure functions. A resource's ETag is `W/"n"`, n being its version; clients also send it without
the W/, or without quotes. Sources: FHIR R4 http.html#concurrency and #cread, RFC 9110 section 13.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from engine.errors import BadRequest
from engine.model import Version

_DIGITS = r"([1-9][0-9]{0,17})"
_VERSION = re.compile(_DIGITS)
_TAG = re.compile(rf'(?:W/)?"{_DIGITS}"|{_DIGITS}')


def etag_of(version: Version) -> str:
    """The ETag of one version."""
    return f'W/"{version.version}"'


def parse_version(text: str) -> int | None:
    """A version in a URL; None for what no version is called."""
    return int(text) if _VERSION.fullmatch(text) else None


def parse_if_match(header: str | None) -> int | None:
    """The version that If-Match names, in any of the three ways; None without the header.
    Raises BadRequest."""
    if header is None:
        return None
    version = _tag_version(header)
    if version is None:
        raise BadRequest('send If-Match as the ETag of one version, such as W/"3"')
    return version


def parse_only_create(header: str | None) -> bool:
    """Whether an update may only create: If-None-Match is `*`. Raises BadRequest for any other
    value: an update that hangs on what a version is not has no use."""
    if header is None:
        return False
    if header.strip() != "*":
        raise BadRequest("an update takes If-None-Match only as *; use If-Match with a version")
    return True


def is_not_modified(
    version: Version, if_none_match: str | None, if_modified_since: str | None
) -> bool:
    """Whether a client has this version already. If-None-Match counts alone if both are sent; a
    date that cannot be read counts as not sent (RFC 9110, 13.1.3)."""
    if if_none_match is not None:
        tags = [tag.strip() for tag in if_none_match.split(",")]
        return "*" in tags or version.version in map(_tag_version, tags)
    if if_modified_since is None:
        return False
    try:
        since = parsedate_to_datetime(if_modified_since)
    except (ValueError, TypeError):
        return False
    seconds = (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
    return version.updated_ms // 1000 <= seconds  # the header has whole seconds


def _tag_version(tag: str) -> int | None:
    match = _TAG.fullmatch(tag.strip())
    return None if match is None else int(match[1] or match[2])
