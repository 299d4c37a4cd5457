"""Rewrites the links of a resource: what it refers to gets another name.

Sources: FHIR R4 http.html#trules and bundle.html#references. Links are references, elements
of type uri, url, oid and uuid, and the `<a href>` and `<img src>` of narratives, contained
resources and extensions included. No links are canonicals, the url that names an extension,
and a resource's own `url`: others mean it by that one, and it is not rewritten there.

Every byte that is not of a changed link stays. Most resources link only by members called
`reference`, which one pass over the bytes finds; only where a link may stand elsewhere are
the types of its elements looked at, and only down the branches that may hold one.
"""

import enum
import html
import re
from collections.abc import Callable, Sequence

import msgspec

from engine.fhir.definitions.model import Definitions, TypeKind, TypeModel
from engine.fhir.members import Member, is_array, is_object, is_string, items, members, string_of

VERSION_SPECIFIC_URL = "http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific"


class LinkKind(enum.Enum):
    """What a link stands in."""

    ADDRESS = "address"  # a uri, url, oid or uuid, or a narrative
    REFERENCE = "reference"
    VERSIONED = "versioned"  # a reference that asks to be made one to a version


Resolve = Callable[[str, LinkKind], str | None]
"""What a link is to be replaced with; None leaves it as it is."""

_LINK_TYPES = frozenset({"uri", "url", "oid", "uuid"})
_ANY_RESOURCE = frozenset({"Resource", "DomainResource"})
_XHTML = "xhtml"
# Its entries' links mean its own entries.
_OWN_SCOPE = "Bundle"

# In sound JSON a quote that no backslash precedes opens or closes a string, and what stands
# before a colon is a name: so this finds the members called `reference` and nothing inside a
# string. The backslash is looked for afterwards: the search is ten times faster so.
_NAME = b'"reference":'
_REFERENCE = re.compile(_NAME + rb'"(?:[^"\\]|\\.)*"')
_BACKSLASH = ord("\\")
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|[^\\]+", re.DOTALL)
_TAG = re.compile(r"""<(a|img)(?=\s)((?:[^"'>]|"[^"]*"|'[^']*')*)>""")
_ATTRIBUTE = re.compile(r"""([^\s"'=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_LINK_ATTRIBUTE = {"a": "href", "img": "src"}
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class _Named(msgspec.Struct, rename="camel"):
    resource_type: object = None


_named = msgspec.json.Decoder(_Named)


class LinkRewriter:
    """Rewrites resources of one FHIR release. Any thread may use it."""

    def __init__(self, definitions: Definitions) -> None:
        self._types = definitions.types
        self._models: dict[str, dict[str, str]] = {}  # type, member: the member's type

    def rewritten(
        self, type: str, text: bytes, resolve: Resolve, *, marks: Sequence[bytes]
    ) -> bytes:
        """A resource of this type without white space, its links replaced.

        A link outside of references that `resolve` could replace contains one of `marks`.
        """
        if type == _OWN_SCOPE:
            return text
        found = [one for one in _REFERENCE.finditer(text) if text[one.start() - 1] != _BACKSLASH]
        if _may_hold(_outside(text, found), marks):
            return _Walk(self, resolve, marks).value(text, type)
        pieces, done = [], 0
        for one in found:
            start = one.start() + len(_NAME)
            target = resolve(string_of(text[start : one.end()]), LinkKind.REFERENCE)
            if target is not None:
                pieces += [text[done:start], _quoted(target)]
                done = one.end()
        return b"".join([*pieces, text[done:]]) if pieces else text

    def member_types(self, type: str) -> dict[str, str]:
        """The types of a type's members, by their names in JSON."""
        model = self._models.get(type)
        if model is None:
            model = self._models[type] = self._compiled(type)
        return model

    def _compiled(self, type: str) -> dict[str, str]:
        model = self._types.get(type)
        if model is None:
            return {}
        found = {}
        for element in model.elements:
            for name in element.types:
                member = element.name
                if element.choice:
                    member += name[0].upper() + name[1:]
                if not _names_itself(model, member):
                    found[member] = name
                found[f"_{member}"] = "Element"
        return found | ({"extension": "Extension"} if type == "Element" else {})


class _Walk:
    """One resource being rewritten by the types of its elements."""

    def __init__(self, rewriter: LinkRewriter, resolve: Resolve, marks: Sequence[bytes]) -> None:
        self._rewriter = rewriter
        self._resolve = resolve
        self._marks = marks

    def value(self, text: bytes, type: str) -> bytes:
        """A value of this type, its links replaced. An array holds values of the type."""
        if not (b'"reference"' in text or _may_hold(text, self._marks)):
            return text
        if is_object(text):
            return self._object(text, type)
        if is_array(text):
            return b"[%b]" % b",".join([self.value(item, type) for item in items(text)])
        if not is_string(text):
            return text
        if type == _XHTML:
            return _narrative(text, self._resolve)
        return self._link(text, LinkKind.ADDRESS) if type in _LINK_TYPES else text

    def _object(self, text: bytes, type: str) -> bytes:
        if type in _ANY_RESOURCE:
            type = str(_named.decode(text).resource_type)
        if type == _OWN_SCOPE:
            return text
        types = self._rewriter.member_types(type)
        pieces, done = [], 0
        for member in members(text):
            value = text[member.start : member.end]
            if member.name == "reference" and is_string(value) and type in ("Reference", ""):
                continue  # below, with its extensions
            new = self.value(value, types.get(member.name, ""))
            if new is not value:
                pieces += [text[done : member.start], new]
                done = member.end
        text = b"".join([*pieces, text[done:]]) if pieces else text
        return self._reference(text) if type in ("Reference", "") else text

    def _reference(self, text: bytes) -> bytes:
        """A Reference, or what could be one, with its own link replaced."""
        places = {member.name: member for member in members(text)}
        place = places.get("reference")
        if place is None or not is_string(text[place.start : place.end]):
            return text
        marked = VERSION_SPECIFIC_URL.encode() in text and _is_marked(text, places)
        kind = LinkKind.VERSIONED if marked else LinkKind.REFERENCE
        value = text[place.start : place.end]
        new = self._link(value, kind)
        if new is value:
            return text
        text = text[: place.start] + new + text[place.end :]
        return _unmarked(text) if marked else text

    def _link(self, text: bytes, kind: LinkKind) -> bytes:
        target = self._resolve(string_of(text), kind)
        return text if target is None else _quoted(target)


def _names_itself(model: TypeModel, member: str) -> bool:
    """Whether an element is the name that its owner is known by, and no link to it."""
    return member == "url" and (model.kind == TypeKind.RESOURCE or model.name == "Extension")


def _outside(text: bytes, found: Sequence[re.Match[bytes]]) -> bytes:
    """The text without these pieces of it."""
    pieces, done = [], 0
    for one in found:
        pieces.append(text[done : one.start()])
        done = one.end()
    return b"".join([*pieces, text[done:]])


def _may_hold(text: bytes, marks: Sequence[bytes]) -> bool:
    """Whether a link that counts may be in it. Escapes may hide any."""
    if VERSION_SPECIFIC_URL.encode() in text or b"\\u" in text or b"\\/" in text:
        return True
    return any(mark in text for mark in marks)


def _quoted(text: str) -> bytes:
    return msgspec.json.encode(text)


# References to be made version-specific.


def _is_mark(text: bytes) -> bool:
    """Whether an extension is the one that asks for it."""
    value = msgspec.json.decode(text)
    return (
        isinstance(value, dict)
        and value.get("url") == VERSION_SPECIFIC_URL
        and value.get("valueBoolean") is True
    )


def _is_marked(text: bytes, places: dict[str, Member]) -> bool:
    place = places.get("extension")
    if place is None or not is_array(text[place.start : place.end]):
        return False
    return any(_is_mark(item) for item in items(text[place.start : place.end]))


def _unmarked(text: bytes) -> bytes:
    """A marked reference without the mark, which is done with."""
    kept = []
    for member in members(text):
        value = text[member.start : member.end]
        if member.name == "extension":
            rest = [item for item in items(value) if not _is_mark(item)]
            if not rest:
                continue
            value = b"[%b]" % b",".join(rest)
        kept.append(text[member.at : member.start] + value)
    return b"{%b}" % b",".join(kept)


# Narratives.


def _narrative(text: bytes, resolve: Resolve) -> bytes:
    """A narrative as a JSON string, the targets of its links replaced and nothing else."""
    written = text.decode()
    shown, places = _unescaped(written)
    pieces, done = [], 0
    for tag in _TAG.finditer(shown):
        for attribute in _ATTRIBUTE.finditer(tag[2]):
            if attribute[1] != _LINK_ATTRIBUTE[tag[1]]:
                continue
            group = 2 if attribute[2] is not None else 3
            target = resolve(html.unescape(attribute[group]), LinkKind.ADDRESS)
            if target is None:
                continue
            start = tag.start(2) + attribute.start(group)
            end = tag.start(2) + attribute.end(group)
            quoted = msgspec.json.encode(html.escape(target))[1:-1].decode()
            pieces += [written[done : places[start]], quoted]
            done = places[end]
    if not pieces:
        return text
    return "".join([*pieces, written[done:]]).encode()


def _unescaped(written: str) -> tuple[str, Sequence[int]]:
    """A JSON string as it reads, quotes included, and where each character of it is written;
    one more place for its end. Half of a pair of surrogates reads as some character."""
    if "\\" not in written:
        return written, range(len(written) + 1)
    shown: list[str] = []
    places: list[int] = []
    for piece in _ESCAPE.finditer(written):
        text = piece[0]
        if text[0] != "\\":
            shown.append(text)
            places.extend(range(piece.start(), piece.end()))
            continue
        escaped = chr(int(text[2:], 16)) if text[1] == "u" else _SHORT.get(text[1], text[1])
        shown.append(escaped)
        places.append(piece.start())
    places.append(len(written))
    return "".join(shown), places
