"""Conditional requests, ranges and content codings: what to answer to which headers.

Pure functions. Sources: RFC 9110 sections 8.8 (ETag), 12.5.3 (Accept-Encoding), 13
(preconditions) and 14 (Range).
"""

import enum
import re
from typing import NamedTuple

from engine.model import StoredFile
from web.fhir.negotiation import parse_accept

_TAGS = re.compile(r'\s*(?:,\s*)*(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"\s*(?=,|$)')
_RANGE = re.compile(r"bytes\s*=\s*(?P<first>[0-9]*)\s*-\s*(?P<last>[0-9]*)", re.IGNORECASE)
_DIGITS_MAX = 18  # more say "beyond any file", and would be slow to read as a number


class Span(NamedTuple):
    """Bytes of a representation."""

    start: int  # inclusive
    stop: int  # exclusive

    def content_range(self, size: int) -> str:
        """The header of a partial answer."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class Unsatisfiable(Exception):
    """No byte of the representation is in the range that was asked for."""


class Precondition(enum.Enum):
    """What If-Match and If-None-Match make of a request."""

    GO_ON = "go on"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


class Representation(NamedTuple):
    """A file in one content coding."""

    coding: str  # "" or "gzip"
    etag: str  # strong, quotes included
    at_rest: bool  # stored like this; otherwise made on the way out, and not in ranges
    size: int | None  # None: not known before it is made


def representation(file: StoredFile, coding: str) -> Representation:
    """The file in a coding, whether it is stored so or not. Codings of one file have
    different ETags, as bytes that differ must."""
    at_rest = coding == file.coding
    sha256 = file.stored_sha256 if at_rest else file.sha256
    size = file.stored_bytes if at_rest else (None if coding else file.bytes)
    return Representation(coding, f'"{sha256}{"-gzip" if coding else ""}"', at_rest, size)


def choose_coding(accept_encoding: str | None, stored: str) -> str:
    """The coding to send: the one at rest where the client takes it, since that is cheap.

    gzip is sent only to who names it (E77). A client that refuses everything gets
    identity, as RFC 9110 advises.
    """
    weights = {item.type: item.weight for item in parse_accept(accept_encoding or "")}
    other = weights.get("*")
    gzip = weights.get("gzip", weights.get("x-gzip", other or 0.0))
    # Not mentioned it is acceptable, but less so than what is.
    identity = weights.get("identity", 0.001 if other is None else other)
    if gzip <= 0:
        return ""
    if stored == "gzip":
        return "gzip" if gzip >= identity else ""
    return "" if identity > 0 else "gzip"


def check_preconditions(etag: str, if_match: str | None, if_none_match: str | None) -> Precondition:
    """What a GET or HEAD of a representation comes to, in the order of RFC 9110, 13.2.2."""
    if if_match is not None and not _names(if_match, etag, weakly=False):
        return Precondition.FAILED
    if if_none_match is not None and _names(if_none_match, etag, weakly=True):
        return Precondition.NOT_MODIFIED
    return Precondition.GO_ON


def choose_span(chosen: Representation, range_: str | None, if_range: str | None) -> Span | None:
    """The part to send with 206; None: all of it with 200. Raises Unsatisfiable.

    Ranges are of the representation at rest only: the other is always sent whole. A date
    in If-Range matches nothing, because no Last-Modified is sent.
    """
    if range_ is None or not chosen.at_rest or chosen.size is None:
        return None
    if if_range is not None and if_range.strip() != chosen.etag:
        return None
    return parse_range(range_, chosen.size)


def parse_range(header: str, size: int) -> Span | None:
    """One range of `size` bytes. None if the header is to be ignored: malformed, of another
    unit, or of several ranges. Raises Unsatisfiable."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match["first"] or match["last"]):
        return None
    last = _number(match["last"]) if match["last"] else None
    if not match["first"]:
        assert last is not None
        start, stop = max(0, size - last), size
    else:
        start = _number(match["first"])
        if last is not None and last < start:
            return None
        stop = size if last is None else min(size, last + 1)
    if start >= stop:
        raise Unsatisfiable
    return Span(start, stop)


def _names(header: str, etag: str, *, weakly: bool) -> bool:
    """Whether a list of ETags, or `*`, has this strong one. A malformed list has nothing
    behind the place where it stops making sense."""
    if header.strip() == "*":
        return True
    place = 0
    while match := _TAGS.match(header, place):
        if f'"{match["opaque"]}"' == etag and (weakly or not match["weak"]):
            return True
        place = match.end()
    return False


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX
