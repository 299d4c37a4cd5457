"""Checks one resource and splits it where the server's own version goes in.

No I/O and no model of FHIR: one level of the resource and one of its `meta` are
taken apart, every other byte stays as it came, but for white space between
tokens. Digits, escapes and the order of members are the sender's (DESIGN 6,
promise 7).
"""

import json
import re
from collections.abc import Callable

import msgspec

from engine.errors import ResourceInvalid, ResourceTooLarge
from engine.fhir.ids import (
    ID_PATTERN,
    ID_RULE,
    SOURCE_UPDATED_URL,
    SOURCE_VERSION_URL,
    TYPE_PATTERN,
    TYPE_RULE,
    is_id,
    is_type,
    member_label,
)
from engine.model import Prepared

DEPTH_MAX = 64  # containers within each other; the deepest R4 example has 15

_BOM = b"\xef\xbb\xbf"
_SERVERS_OWN = ("versionId", "lastUpdated")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)

_TYPE_JSON = re.compile(b'"(?:%b)"' % TYPE_PATTERN.encode())
_ID_JSON = re.compile(b'"(?:%b)"' % ID_PATTERN.encode())
_KEY = re.compile(rb'"(?:[^"\\]|\\.)*":')
_MALFORMED = re.compile(r"JSON is malformed: (?P<why>.*) \(byte (?P<at>\d+)\)")
_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity)")
# In order: an escaped backslash, a whole pair, half a pair. Only the last one has a group.
_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F])"
)
_OPEN_CLOSE = bytes.maketrans(b"{[}]", b"(())")
_NO_BRACKET = bytes(set(range(256)) - set(b'"{}[]'))
_STRING_LEFT = re.compile(rb'"[^"]*"')


def prepare(
    raw: bytes,
    *,
    id: str | None = None,
    type: str | None = None,
    bytes_max: int,
    keep_source: bool = False,
) -> Prepared:
    """Check one resource and split it around its version.

    `type` and `id` are what the caller expects; a body without id gets `id`. The sender's
    `meta.versionId` and `meta.lastUpdated` go, or with `keep_source` become extensions on
    meta. Raises ResourceInvalid, ResourceTooLarge; no message holds content.
    """
    if len(raw) > bytes_max:
        raise ResourceTooLarge(bytes_max)
    resource = _Object(minified(raw), "the resource")
    type = _check_type(resource.members.get("resourceType"), type)
    id, is_new = _check_id(resource.members.get("id"), id)
    if is_new:
        at = resource.value_end("resourceType")
        text = b'%b,"id":"%b"%b' % (resource.text[:at], id.encode(), resource.text[at:])
        resource = _Object(text, "the resource")
    head, tail = _split_at_version(resource, keep_source)
    return Prepared(type, id, head, tail)


def prepare_new(raw: bytes, *, type: str, id: str, bytes_max: int) -> Prepared:
    """Check a resource that is to be created: its own id, if it has one, gives way to `id`.

    Raises ResourceInvalid, ResourceTooLarge.
    """
    if not has_id(raw):
        return prepare(raw, type=type, id=id, bytes_max=bytes_max)
    prepare(raw, type=type, bytes_max=bytes_max)  # finds members that come twice, before they go
    members = _members.decode(raw)
    kept = [
        msgspec.json.encode(name) + b":" + bytes(value)
        for name, value in members.items()
        if name != "id"
    ]
    return prepare(b"{%b}" % b",".join(kept), type=type, id=id, bytes_max=bytes_max)


def has_id(raw: bytes) -> bool:
    """Whether a body has an id. False for what is no JSON object, as `prepare` will say."""
    try:
        return "id" in _members.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False


def with_id(resource: Prepared, id: str) -> Prepared:
    """The same resource under another id. Its index rows have to be made again."""
    body = resource.unwritten_body
    text = _Object(body, "the resource")
    start, stop = text.value_start("id"), text.value_end("id")
    changed = b'%b"%b"%b' % (body[:start], id.encode(), body[stop:])
    return prepare(changed, type=resource.type, id=id, bytes_max=len(changed))


class _Object:
    """A JSON object without white space, taken apart one level deep."""

    __slots__ = ("members", "plain", "text")

    def __init__(self, text: bytes, name: str) -> None:
        """`name` is how messages call it. Raises ResourceInvalid for members that come twice."""
        self.text = text
        self.members = members = _members.decode(text)
        # Every member takes its key, its value and four more bytes; a member that came twice,
        # or a key that is not spelled as it reads, leaves bytes over.
        size = sum(map(len, members)) + sum(map(len, members.values())) + 4 * len(members) + 1
        self.plain = size == len(text)
        if not self.plain and members:
            _check_unique(text, name)

    def value_start(self, name: str) -> int:
        """Where the value of a member begins."""
        last, value = next(reversed(self.members.items()))
        if last == name:  # many write meta there
            return len(self.text) - 1 - len(value)
        at = 1
        for key, value in self.members.items():
            at = at + len(key) + 3 if self.plain else _key_end(self.text, at)
            if key == name:
                return at
            at += len(value) + 1
        raise KeyError(name)

    def value_end(self, name: str) -> int:
        """Where the byte after the value of a member is."""
        return self.value_start(name) + len(self.members[name])

    def without(self, names: tuple[str, ...]) -> list[bytes]:
        """The other members, key and value, byte by byte."""
        kept = []
        at = 1
        for key, value in self.members.items():
            start = at
            at = (at + len(key) + 3 if self.plain else _key_end(self.text, at)) + len(value)
            if key not in names:
                kept.append(self.text[start:at])
            at += 1
        return kept


def _key_end(text: bytes, at: int) -> int:
    key = _KEY.match(text, at)
    assert key is not None  # the decoder has seen a key here
    return key.end()


def _check_unique(text: bytes, name: str) -> None:
    """Raise ResourceInvalid if two members have one name. Slow, and seldom needed."""
    last: list[tuple[str, object]] = []

    def remember(pairs: list[tuple[str, object]]) -> None:
        nonlocal last
        last = pairs  # objects end from the inside out, so the outermost is the last

    json.loads(text, object_pairs_hook=remember, parse_int=str, parse_float=str)
    seen: set[str] = set()
    for key, _ in last:
        if key in seen:
            raise ResourceInvalid(f"{member_label(key)} comes twice in {name}")
        seen.add(key)


# Names.


def _check_type(value: msgspec.Raw | None, expected: str | None) -> str:
    if value is None:
        raise ResourceInvalid(
            "has no resourceType", code="required", expression="Resource.resourceType"
        )
    found = _name(value, _TYPE_JSON, is_type)
    if found is None:
        raise ResourceInvalid(
            f"resourceType is not {TYPE_RULE}", code="value", expression="Resource.resourceType"
        )
    if expected is not None and found != expected:
        raise ResourceInvalid(
            f"resourceType is {found} where {expected} was expected",
            code="value",
            expression="Resource.resourceType",
        )
    return found


def _check_id(value: msgspec.Raw | None, expected: str | None) -> tuple[str, bool]:
    """The id, and whether it has to be put in."""
    if expected is not None and not is_id(expected):
        raise ResourceInvalid(f"the id asked for is not {ID_RULE}", code="value")
    if value is None:
        if expected is None:
            raise ResourceInvalid("has no id", code="required", expression="Resource.id")
        return expected, True
    found = _name(value, _ID_JSON, is_id)
    if found is None:
        raise ResourceInvalid(f"id is not {ID_RULE}", code="value", expression="Resource.id")
    if expected is not None and found != expected:
        raise ResourceInvalid(
            "has another id than the one asked for", code="value", expression="Resource.id"
        )
    return found, False


def _name(
    value: msgspec.Raw, plain: re.Pattern[bytes], is_name: Callable[[str], bool]
) -> str | None:
    """The string that a value is, if it is a good name. `plain`: one spelled without escapes."""
    raw = bytes(value)
    if plain.fullmatch(raw):
        return raw[1:-1].decode("ascii")
    if raw[:1] != b'"':
        return None
    name = _string.decode(raw)
    return name if is_name(name) else None


# Where the version goes in.


def _split_at_version(resource: _Object, keep_source: bool) -> tuple[bytes, bytes]:
    text = resource.text
    value = resource.members.get("meta")
    if value is None:
        at = resource.value_end("id")
        return text[:at] + b',"meta":{"versionId":"', b'"}' + text[at:]
    start = resource.value_start("meta")
    rest = _other_members(bytes(value), keep_source)
    closing = b'",%b}' % rest if rest else b'"}'
    return text[:start] + b'{"versionId":"', closing + text[start + len(value) :]


def _other_members(text: bytes, keep_source: bool) -> bytes:
    """The members of meta that are the sender's to set."""
    if text[:1] != b"{":
        raise ResourceInvalid("meta is not an object", expression="Resource.meta")
    meta = _Object(text, "meta")
    if "versionId" not in meta.members and "lastUpdated" not in meta.members:
        return text[1:-1]
    sources = _source_extensions(meta) if keep_source else []
    if not sources:
        return b",".join(meta.without(_SERVERS_OWN))
    before = meta.members.get("extension")
    if before is None:
        added = b'"extension":[%b]' % b",".join(sources)
        return b",".join([*meta.without(_SERVERS_OWN), added])
    if bytes(before)[:1] != b"[":
        raise ResourceInvalid("meta.extension is not an array", expression="Resource.meta")
    last = meta.value_end("extension") - 1
    comma = b"," if len(before) > 2 else b""
    grown = meta.text[:last] + comma + b",".join(sources) + meta.text[last:]
    return b",".join(_Object(grown, "meta").without(_SERVERS_OWN))


def _source_extensions(meta: _Object) -> list[bytes]:
    """The sender's own version and time, as extensions."""
    found = []
    for name, url, kind in (
        ("versionId", SOURCE_VERSION_URL, "valueId"),
        ("lastUpdated", SOURCE_UPDATED_URL, "valueInstant"),
    ):
        value = meta.members.get(name)
        if value is None:
            continue
        if bytes(value)[:1] != b'"':
            raise ResourceInvalid(
                f"meta.{name} is not a string", expression=f"Resource.meta.{name}"
            )
        found.append(b'{"url":"%b","%b":%b}' % (url.encode(), kind.encode(), bytes(value)))
    return found


# Syntax.


def minified(raw: bytes, *, depth_max: int = DEPTH_MAX) -> bytes:
    """The text without white space, once it is known to be one sound JSON object in UTF-8.

    Raises ResourceInvalid, which says what is wrong and where.
    """
    text = minified_value(raw, depth_max=depth_max)
    if text[:1] != b"{":
        raise ResourceInvalid("is JSON, but not an object")
    return text


def minified_value(raw: bytes, *, depth_max: int = DEPTH_MAX) -> bytes:
    """As `minified`, of any JSON value."""
    _check_encoding(raw)
    try:
        text = msgspec.json.format(raw, indent=-1)
    except RecursionError:
        raise _too_deep(depth_max) from None
    except msgspec.DecodeError as error:
        raise _syntax_error(raw, str(error)) from None
    if text.count(b"{") + text.count(b"[") > depth_max and _is_deeper(text, depth_max):
        raise _too_deep(depth_max)
    return text


def _check_encoding(raw: bytes) -> None:
    if raw.isascii():
        return
    if raw.startswith(_BOM):
        raise ResourceInvalid("begins with a byte order mark; FHIR JSON has none")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ResourceInvalid(
            f"is not UTF-8 at byte {error.start + 1} ({_place(raw, error.start)})"
        ) from None


def _too_deep(depth_max: int) -> ResourceInvalid:
    return ResourceInvalid(f"nested deeper than {depth_max} levels", code="too-costly")


def _is_deeper(text: bytes, depth_max: int) -> bool:
    """Whether containers nest deeper, in time that grows with the text and not with a tree."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What is left is brackets and the quotes of strings. A pair of quotes side by side may go
    # whether it is one string or the seam of two: what stays is inside or outside as before.
    brackets = text.translate(_OPEN_CLOSE, _NO_BRACKET).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING_LEFT.sub(b"", brackets)
    for _ in range(depth_max):
        brackets = brackets.replace(b"()", b"")  # the innermost level goes
        if not brackets:
            return False
    return True


def _syntax_error(raw: bytes, message: str) -> ResourceInvalid:
    """What is wrong with a text that the decoder refused, in our words."""
    if not raw.strip():
        return ResourceInvalid("is empty")
    for match in _SURROGATE.finditer(raw):
        if match[1]:
            return ResourceInvalid(
                f"is not JSON at byte {match.start() + 1}: half of a surrogate pair in a string "
                f"({_place(raw, match.start())})"
            )
    known = _MALFORMED.fullmatch(message)
    if known is None:
        return ResourceInvalid(f"is not JSON: it ends too early ({_place(raw, len(raw))})")
    at = int(known["at"])
    if _NOT_A_NUMBER.match(raw, at) or _NOT_A_NUMBER.match(raw, max(at - 1, 0)):
        return ResourceInvalid(
            f"is not JSON at byte {at + 1}: NaN and Infinity are no numbers there "
            f"({_place(raw, at)})"
        )
    # The decoder names the character that it cannot take, or the one after it.
    return ResourceInvalid(f"is not JSON near byte {at + 1}: {known['why']} ({_place(raw, at)})")


def _place(raw: bytes, at: int) -> str:
    """Where an offset is for who looks at the text in an editor."""
    line = raw.count(b"\n", 0, at) + 1
    start = raw.rfind(b"\n", 0, at) + 1
    return f"line {line}, column {len(raw[start:at].decode('utf-8', 'replace')) + 1}"
