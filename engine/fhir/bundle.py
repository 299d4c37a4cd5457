"""Takes a Bundle apart into the resources that its entries carry.

Identity follows FHIR R4 `bundle.html#references`: an entry is known inside its
Bundle by its fullUrl, and `urn:uuid:` (and `urn:oid:`) references mean that
entry. They become `Type/id`; an entry whose resource has no id takes it from
its fullUrl. Only members called `reference` are rewritten, byte for byte in
place: elements of type uri, url, oid, uuid and the narrative stay as they are.
"""

import re
from collections.abc import Iterator

import msgspec

from engine.errors import ResourceInvalid
from engine.fhir.body import DEPTH_MAX
from engine.fhir.ids import is_id, is_type

# A resource in an entry may be as deep as one that comes alone.
BUNDLE_DEPTH_MAX = DEPTH_MAX + 3

# Bundles that carry resources to be kept one by one.
_CARRIERS = frozenset(
    {
        "transaction",
        "batch",
        "collection",
        "searchset",
        "transaction-response",
        "batch-response",
    }
)
# Bundles that are a thing of their own: taken apart, their meaning would be lost.
_WHOLE = frozenset({"document", "message"})
_WRITES = frozenset({"POST", "PUT"})

_URN = re.compile(r"urn:(?:uuid|oid):(.*)", re.DOTALL)
# In sound JSON a quote that no backslash precedes opens or closes a string, and what stands
# before a colon is a key: so this finds the members called `reference` and nothing inside a
# string.
_REFERENCE = re.compile(rb'(?<!\\)("reference"\s*:\s*")([^"\\]*)"')
_CONDITIONAL = re.compile(rb"[A-Z][A-Za-z]{0,63}\?.")


class Entry(msgspec.Struct, frozen=True):
    """A resource to be kept, its references rewritten."""

    number: int  # place in Bundle.entry, from 1
    id: str | None  # None: the resource has one itself
    body: bytes
    conditional: int  # references such as Patient?identifier=..., left as they are
    unresolved: int  # references to entries that are not there, left as they are


class Skipped(msgspec.Struct, frozen=True):
    """An entry that nothing is kept of, and why. The reason holds no content."""

    number: int
    reason: str


class _Request(msgspec.Struct):
    method: str = ""


class _Search(msgspec.Struct):
    mode: str = ""


class _Named(msgspec.Struct, rename="camel"):
    """What names a resource; any JSON, because it is checked later."""

    resource_type: object = None
    id: object = None


class _Entry(msgspec.Struct, rename="camel"):
    full_url: str = ""
    resource: msgspec.Raw = msgspec.Raw()
    request: _Request = msgspec.field(default_factory=_Request)
    search: _Search = msgspec.field(default_factory=_Search)


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: object = None
    type: object = None


class _Entries(msgspec.Struct):
    entry: list[msgspec.Raw] = []


_bundle = msgspec.json.Decoder(_Bundle)
_entries = msgspec.json.Decoder(_Entries)
_entry_of = msgspec.json.Decoder(_Entry)
_named = msgspec.json.Decoder(_Named)


def is_to_unpack(text: bytes) -> bool:
    """Whether a JSON object is a Bundle whose entries are to be kept one by one.

    Documents and messages are resources of their own, and so is what is no Bundle. Raises
    ResourceInvalid for a Bundle that can be neither.
    """
    bundle = _bundle.decode(text)
    if bundle.resource_type != "Bundle" or bundle.type in _WHOLE:
        return False
    if bundle.type not in _CARRIERS:
        raise ResourceInvalid(
            "a Bundle of this type cannot be loaded; these can: "
            + ", ".join(sorted(_CARRIERS | _WHOLE)),
            code="not-supported",
            expression="Bundle.type",
        )
    return True


def unpack(text: bytes) -> Iterator[Entry | Skipped]:
    """The entries of a Bundle in their order. Raises ResourceInvalid before the first one.

    `text` is known to be sound JSON (`body.minified`); what the resources are is for
    `body.prepare` to check.
    """
    try:
        entries = [_parsed(raw) for raw in _entries.decode(text).entry]
    except msgspec.ValidationError:
        raise ResourceInvalid("its entries are not an array", expression="Bundle.entry") from None
    targets, doubtful = _targets(entries)
    for number, entry in enumerate(entries, 1):
        if entry is None:
            yield Skipped(number, "it is not an entry as FHIR has it")
            continue
        reason = _why_skipped(entry)
        if reason is None and entry.full_url in doubtful:
            reason = "its fullUrl is also that of another resource in the Bundle"
        if reason is not None:
            yield Skipped(number, reason)
        else:
            yield _entry(number, entry, targets)


def _parsed(raw: msgspec.Raw) -> _Entry | None:
    try:
        return _entry_of.decode(raw)
    except msgspec.ValidationError:
        return None


def _why_skipped(entry: _Entry) -> str | None:
    method = entry.request.method
    if method and method not in _WRITES:
        name = method if method in ("DELETE", "GET", "HEAD", "PATCH") else "unknown"
        return f"its request is {name}: only what POST and PUT carry is loaded"
    if entry.search.mode == "outcome":
        return "it tells about the search and is not a result"
    if not len(entry.resource):
        return "it has no resource"
    return None


def _targets(entries: list[_Entry | None]) -> tuple[dict[bytes, bytes], set[str]]:
    """What each URN stands for as `Type/id`, and the fullUrls that stand for two things."""
    targets: dict[bytes, bytes] = {}
    doubtful: set[str] = set()
    for entry in entries:
        if entry is None or not _URN.fullmatch(entry.full_url) or _why_skipped(entry) is not None:
            continue
        name = _name(entry)
        if name is None:
            continue
        urn = entry.full_url.encode()
        if targets.setdefault(urn, name) != name:
            doubtful.add(entry.full_url)
    for url in doubtful:
        del targets[url.encode()]
    return targets, doubtful


def _name(entry: _Entry) -> bytes | None:
    """`Type/id` of an entry's resource; None if it will be refused anyhow."""
    named = _identity(entry)
    if (
        named is None
        or not isinstance(named.resource_type, str)
        or not is_type(named.resource_type)
    ):
        return None
    id = _id_from_url(entry.full_url) if named.id is None else named.id
    if not isinstance(id, str) or not is_id(id):
        return None
    return f"{named.resource_type}/{id}".encode()


def _identity(entry: _Entry) -> _Named | None:
    try:
        return _named.decode(entry.resource)
    except msgspec.DecodeError:
        return None  # not an object


def _id_from_url(url: str) -> str | None:
    match = _URN.fullmatch(url)
    return match[1] if match and is_id(match[1]) else None


def _entry(number: int, entry: _Entry, targets: dict[bytes, bytes]) -> Entry:
    named = _identity(entry)
    body = bytes(entry.resource)
    id = _id_from_url(entry.full_url) if named is not None and named.id is None else None
    if named is not None and named.resource_type == "Bundle":
        return Entry(number, id, body, 0, 0)  # its URNs mean its own entries
    conditional = unresolved = 0

    def rewritten(match: re.Match[bytes]) -> bytes:
        nonlocal conditional, unresolved
        target = targets.get(match[2])
        if target is not None:
            return b'%b%b"' % (match[1], target)
        if match[2].startswith(b"urn:"):
            unresolved += 1
        elif _CONDITIONAL.match(match[2]):
            conditional += 1
        return match[0]

    return Entry(number, id, _REFERENCE.sub(rewritten, body), conditional, unresolved)
