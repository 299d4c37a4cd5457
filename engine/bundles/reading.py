"""Reading: from the bytes of a batch or transaction Bundle to its entries.

Pure, and for a thread if the Bundle is large: one pass finds the entries, each is then taken
apart one level deep. Sources: FHIR R4 http.html#transaction, bundle.html.
"""

import base64
import binascii
import enum
from collections.abc import Callable, Sequence

import msgspec

from engine.bundles.entry import READS, Entry, Method, naming
from engine.errors import BadRequest, NotSupported, ResourceInvalid
from engine.fhir.body import DEPTH_MAX, minified
from engine.fhir.ids import ID_RULE, is_id
from engine.fhir.patch import Patch, parse_patch
from engine.fhir.types import STORED_TYPES

JSON_PATCH = "application/json-patch+json"
# A resource in an entry may be as deep as one that comes alone.
BUNDLE_DEPTH_MAX = DEPTH_MAX + 3


class BundleKind(enum.StrEnum):
    """Bundles that are requests."""

    BATCH = "batch"
    TRANSACTION = "transaction"


class Preconditions(msgspec.Struct, frozen=True):
    """How the texts of version conditions are read. Both raise BadRequest."""

    if_match: Callable[[str | None], int | None]
    only_create: Callable[[str | None], bool]  # If-None-Match of a write


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: object = None
    type: object = None
    entry: list[msgspec.Raw] = []


class _Request(msgspec.Struct, rename="camel"):
    method: str
    url: str
    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_none_exist: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    request: _Request
    full_url: str = ""
    resource: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct, rename="camel"):
    resource_type: object = None
    id: object = None


class _Binary(msgspec.Struct, rename="camel"):
    """What a patch comes in."""

    resource_type: str
    content_type: str = ""
    data: str = ""


_bundle = msgspec.json.Decoder(_Bundle)
_entry = msgspec.json.Decoder(_Entry)
_named = msgspec.json.Decoder(_Named)
_binary = msgspec.json.Decoder(_Binary)


def read_bundle(raw: bytes) -> tuple[BundleKind, list[bytes]]:
    """What kind of request a Bundle is, and its entries, each a JSON value without white space.

    Raises ResourceInvalid, NotSupported for other Bundles.
    """
    text = minified(raw, depth_max=BUNDLE_DEPTH_MAX)
    try:
        bundle = _bundle.decode(text)
    except msgspec.DecodeError:
        raise ResourceInvalid("its entries are not an array", expression="Bundle.entry") from None
    if bundle.resource_type != "Bundle":
        raise ResourceInvalid(
            "is no Bundle: the FHIR base takes a Bundle of type batch or transaction; "
            "send other resources to the address of their type",
            code="value",
            expression="Resource.resourceType",
        )
    if bundle.type not in tuple(BundleKind):
        raise NotSupported(
            "the FHIR base takes a Bundle of type batch or transaction; to store another "
            "Bundle as it is, send it to Bundle",
            expression="Bundle.type",
        )
    return BundleKind(str(bundle.type)), [bytes(entry) for entry in bundle.entry]


class EntryReader:
    """Reads entries of one request. `base` is the address of its FHIR base, without a slash at
    the end."""

    def __init__(self, base: str, preconditions: Preconditions) -> None:
        self._base = f"{base}/"
        self._preconditions = preconditions

    def all(self, entries: Sequence[bytes]) -> list[Entry]:
        """All entries. Raises EntryFailed for the first that is wrong."""
        found = []
        for number, text in enumerate(entries):
            with naming(number):
                found.append(self.one(number, text))
        return found

    def one(self, number: int, text: bytes) -> Entry:
        """One entry. Raises BadRequest, NotSupported, ResourceInvalid."""
        try:
            given = _entry.decode(text)
        except msgspec.DecodeError:
            raise BadRequest(
                "an entry needs a request with method and url, both strings",
                expression="Bundle.entry.request",
            ) from None
        request = given.request
        if request.method not in tuple(Method):
            raise BadRequest(
                f"request.method must be one of {', '.join(Method)}",
                expression="Bundle.entry.request.method",
            )
        method, url = Method(request.method), self._relative(request.url)
        if method in READS:
            return _read(number, method, url, given)
        path, _, criteria = url.partition("?")
        if "$" in path or path.partition("/")[2].startswith("_"):
            return Entry(
                number=number, method=method, url=url, text=bytes(given.resource), operation=True
            )
        return self._write(number, method, url, criteria, given)

    def _relative(self, url: str) -> str:
        """A url below the base."""
        if url.startswith(self._base):
            return url[len(self._base) :]
        if "://" in url.partition("?")[0]:
            raise BadRequest(
                "request.url is of another server: send it relative to the FHIR base",
                expression="Bundle.entry.request.url",
            )
        return url.lstrip("/")

    def _write(self, number: int, method: Method, url: str, criteria: str, given: _Entry) -> Entry:
        type, id = _address(url.partition("?")[0])
        request = given.request
        if method is Method.POST:
            if id or criteria:
                raise _wrong_url("POST takes a type, such as Patient; PUT takes type and id")
            criteria = (request.if_none_exist or "").rpartition("?")[2]
        elif bool(id) == bool(criteria):
            raise _wrong_url(f"{method} takes type and id, or type and criteria")
        text, patch = b"", None
        if method is Method.PATCH:
            patch = _patch(bytes(given.resource))
        elif method is not Method.DELETE:
            text = _resource(bytes(given.resource), type)
            if method is Method.PUT:
                id = _put_id(text, id)
        only_create = self._preconditions.only_create(request.if_none_match)
        if only_create and (method is not Method.PUT or criteria):
            raise NotSupported(
                "ifNoneMatch is for GET, and * for PUT to an id",
                expression="Bundle.entry.request.ifNoneMatch",
            )
        return Entry(
            number=number,
            method=method,
            url=url,
            type=type,
            id=id,
            criteria=criteria,
            full_url=given.full_url,
            text=text,
            patch=patch,
            if_match=self._preconditions.if_match(request.if_match),
            if_none_match="*" if only_create else "",
        )


def _read(number: int, method: Method, url: str, given: _Entry) -> Entry:
    parts = url.partition("?")[0].split("/")
    known = len(parts) == 2 and parts[0] in STORED_TYPES and is_id(parts[1])
    request = given.request
    return Entry(
        number=number,
        method=method,
        url=url,
        type=parts[0] if known else "",
        id=parts[1] if known else "",
        if_none_match=request.if_none_match or "",
        if_modified_since=request.if_modified_since or "",
    )


def _address(path: str) -> tuple[str, str]:
    """Type and id ("" if there is none) of the address of a write."""
    type, slash, id = path.partition("/")
    if type not in STORED_TYPES:
        raise _wrong_url("it names no resource type of this server")
    if slash and not is_id(id):
        raise _wrong_url(f"its id is not {ID_RULE}")
    return type, id


def _wrong_url(why: str) -> BadRequest:
    return BadRequest(f"request.url: {why}", expression="Bundle.entry.request.url")


def _identity(text: bytes) -> _Named:
    try:
        return _named.decode(text)
    except msgspec.DecodeError:
        raise BadRequest(
            "the entry has no resource, and its method needs one",
            expression="Bundle.entry.resource",
        ) from None


def _resource(text: bytes, type: str) -> bytes:
    if _identity(text).resource_type != type:
        raise BadRequest(
            f"the resource is not of the type that request.url names: {type}",
            expression="Bundle.entry.resource",
        )
    return text


def _put_id(text: bytes, id: str) -> str:
    """The id that a PUT is for: of its url, or, with criteria, of its resource if that has one."""
    own = _identity(text).id
    if own is None:
        if id:
            raise BadRequest(
                "the resource needs the id that request.url names",
                expression="Bundle.entry.resource.id",
            )
        return ""
    if not isinstance(own, str) or not is_id(own):
        raise BadRequest(f"the id is not {ID_RULE}", expression="Bundle.entry.resource.id")
    if id and own != id:
        raise BadRequest(
            "the id in the resource is not the one in request.url",
            expression="Bundle.entry.resource.id",
        )
    return own


def _patch(text: bytes) -> Patch:
    """A JSON Patch, which comes as a Binary (http.html#patch)."""
    name = _identity(text).resource_type
    if name == "Parameters":
        raise NotSupported(
            f"FHIRPath Patch is not supported: send a Binary of {JSON_PATCH}",
            expression="Bundle.entry.resource",
        )
    try:
        binary = _binary.decode(text)
        data = base64.b64decode(binary.data, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise _no_patch() from None
    media_type = binary.content_type.partition(";")[0].strip().lower()
    if name != "Binary" or media_type != JSON_PATCH:
        raise _no_patch()
    return parse_patch(data)


def _no_patch() -> BadRequest:
    return BadRequest(
        f"PATCH needs a Binary with contentType {JSON_PATCH} and the patch as data",
        expression="Bundle.entry.resource",
    )
