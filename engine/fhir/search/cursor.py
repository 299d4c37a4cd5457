"""Cursors: where a page of a search begins, as text that only this server can have made.

A position is the store's own and says nothing to a client. Sealed, it is good for one tenant and
one query: what another tenant was given, or another query, is refused like one that was made up.
"""

import binascii
import hmac
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence

import msgspec

from engine.errors import BadParameter
from engine.fhir.search.results import CURSOR

CURSOR_CHARS_MAX = 65_536  # of eight sort keys, each of the longest string the index holds

_VERSION = b"\x01"  # of the layout: version, position, mac
_MAC_BYTES = 16  # of SHA-256's 32: nobody guesses 128 bits
_PURPOSE = b"penstock search cursor"  # the same key may sign other things


def query_text(address: str, understood: Sequence[tuple[str, str]]) -> str:
    """What a cursor is bound to: the path below the tenant's base url, such as
    `Patient/1/Observation`, and the parameters as they were understood."""
    return msgspec.json.encode((address, tuple(understood))).decode()


def seal(position: bytes, *, key: bytes, tenant: str, query: str) -> str:
    """A position as text for a link. `key` is the store's secret, `query` is `query_text`'s."""
    text = _VERSION + position + _mac(position, key, tenant, query)
    return urlsafe_b64encode(text).rstrip(b"=").decode()


def unseal(cursor: str, *, key: bytes, tenant: str, query: str) -> bytes:
    """The position of a cursor. Raises BadParameter unless it was sealed with the same key, for
    this tenant and this query."""
    sealed = _decoded(cursor)
    position, mac = sealed[1:-_MAC_BYTES], sealed[-_MAC_BYTES:]
    right = sealed[:1] == _VERSION and len(sealed) > _MAC_BYTES
    # The code is compared even where it cannot fit: no answer is faster than another.
    if not hmac.compare_digest(mac, _mac(position, key, tenant, query)) or not right:
        raise _refused()
    return position


def _decoded(cursor: str) -> bytes:
    if len(cursor) > CURSOR_CHARS_MAX:
        raise _refused()
    try:
        sealed = b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused() from None
    # One position has one cursor: bits that decoding drops must be those that encoding writes.
    if urlsafe_b64encode(sealed).rstrip(b"=").decode() != cursor:
        raise _refused()
    return sealed


def _mac(position: bytes, key: bytes, tenant: str, query: str) -> bytes:
    signer = hmac.new(key, _PURPOSE + _VERSION, "sha256")
    for part in (tenant.encode(), query.encode("utf-8", "surrogatepass"), position):
        signer.update(len(part).to_bytes(8, "big") + part)
    return signer.digest()[:_MAC_BYTES]


def _refused() -> BadParameter:
    return BadParameter(
        f"{CURSOR} was not given by this server for this query: start again without it",
        expression=CURSOR,
    )
