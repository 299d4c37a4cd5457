"""Parts of a resource: `_summary` and `_elements`.

What stays keeps its bytes, so that digits and escapes are as they were stored; what an answer
leaves out makes the resource one with the tag SUBSETTED. Sources: FHIR R4 search.html#summary,
search.html#elements; Bulk Data 2.0, `_elements`.
"""

import enum
from collections.abc import Callable, Iterable, Sequence

import msgspec

from engine.fhir.definitions.model import Definitions, Element
from engine.fhir.members import is_array, is_object, items, members, string_of

SUBSETTED_SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
SUBSETTED_CODE = "SUBSETTED"

_TAG = b'{"system":"%b","code":"%b"}' % (SUBSETTED_SYSTEM.encode(), SUBSETTED_CODE.encode())
_ALWAYS = frozenset({"resourceType", "id", "meta"})


class Summary(enum.StrEnum):
    """Forms of `_summary` that a single resource can have; `false` is none, `count` is of a
    search."""

    TRUE = "true"
    TEXT = "text"
    DATA = "data"


def with_summary(body: bytes, summary: Summary, definitions: Definitions) -> bytes:
    """A stored body with only what the summary has: `true` the elements marked as summary, at
    every level, and mandatory ones; `text` the narrative and the mandatory top-level elements;
    `data` all but the narrative."""
    types = _Types(definitions)
    root = types.of(_type_of(body))
    if summary is Summary.TRUE and root.is_known:
        return _subsetted(types.summarized(body, root))
    if summary is Summary.DATA:
        return _subsetted(_kept(body, lambda name: name not in ("text", "_text")))
    return _subsetted(_kept(body, lambda name: name == "text" or root.always_has(name)))


def with_elements(body: bytes, elements: Sequence[str], definitions: Definitions) -> bytes:
    """A stored body with only these top-level elements, `id`, `meta` and the mandatory ones.

    An element is `name` or, for one type alone, `Type.name`; of a longer path the first name
    counts. A body of a type that no element speaks of stays whole.
    """
    type = _type_of(body)
    wanted = frozenset(_names(elements, type))
    if not wanted:
        return body
    root = _Types(definitions).of(type)

    def keeps(name: str) -> bool:
        element = root.element(name)
        return root.always_has(name) or (
            name in wanted if element is None else not wanted.isdisjoint((name, element.name))
        )

    return _subsetted(_kept(body, keeps))


def _names(elements: Iterable[str], type: str) -> Iterable[str]:
    """The top-level names asked for of one type."""
    for element in elements:
        first, _, rest = element.partition(".")
        if first[:1].isupper():
            if first != type or not rest:
                continue
            first = rest.partition(".")[0]
        yield first.removesuffix("[x]")


def _type_of(body: bytes) -> str:
    for member in members(body):
        if member.name == "resourceType":
            return string_of(body[member.start : member.end])
    return ""


class _Type:
    """The elements of one type by their names in JSON."""

    def __init__(self, definitions: Definitions, name: str) -> None:
        model = definitions.types.get(name)
        self.is_known = model is not None  # bodies that were never validated may have any type
        elements = () if model is None else model.elements
        self._plain = {element.name: element for element in elements if not element.choice}
        self._choices = [element for element in elements if element.choice]

    def element(self, name: str) -> Element | None:
        """That of a member; also of `_member`."""
        name = name.removeprefix("_")
        found = self._plain.get(name)
        if found is None:
            for choice in self._choices:
                if _chosen(choice, name):
                    return choice
        return found

    def type_of(self, element: Element, name: str) -> str:
        """The type that a member's value has."""
        return _chosen(element, name) if element.choice else element.types[0]

    def always_has(self, name: str) -> bool:
        """Whether no part of a resource of this type may lack the member."""
        element = self.element(name)
        return name in _ALWAYS or (element is not None and element.min > 0)


def _chosen(choice: Element, name: str) -> str:
    """The type that a member's name says, `valueQuantity` of `value`; empty if it is another."""
    if name.startswith(choice.name):
        for type in choice.types:
            if name[len(choice.name) :] == type[:1].upper() + type[1:]:
                return type
    return ""


class _Types:
    """The types that one answer has met."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._types: dict[str, _Type] = {}

    def of(self, name: str) -> _Type:
        found = self._types.get(name)
        if found is None:
            found = self._types[name] = _Type(self._definitions, name)
        return found

    def summarized(self, text: bytes, type: _Type) -> bytes:
        """An object with only the elements that its type's summary has."""
        kept = []
        for member in members(text):
            value = text[member.start : member.end]
            if member.name != "resourceType":
                element = type.element(member.name)
                if element is None or not (element.summary or element.min > 0):
                    continue
                if member.name[:1] != "_":
                    value = self._value(value, type.type_of(element, member.name))
            if value not in (b"{}", b"[]"):
                kept.append(text[member.at : member.start] + value)
        return b"{%b}" % b",".join(kept)

    def _value(self, text: bytes, type: str) -> bytes:
        if is_array(text):
            parts = [self._value(item, type) for item in items(text)]
            return b"[%b]" % b",".join(part for part in parts if part != b"{}")
        if not is_object(text):
            return text
        if type == "Resource":  # of a Bundle's entry
            type = _type_of(text)
        return self.summarized(text, self.of(type))


def _kept(text: bytes, keeps: Callable[[str], bool]) -> bytes:
    """An object with only some of its members, byte by byte."""
    kept = (text[one.at : one.end] for one in members(text) if keeps(one.name))
    return b"{%b}" % b",".join(kept)


# The tag.


def _subsetted(text: bytes) -> bytes:
    """A resource with the tag that says that parts are missing."""
    for member in members(text):
        if member.name == "meta":
            meta = _tagged(text[member.start : member.end])
            return text[: member.start] + meta + text[member.end :]
    return text[:-1] + b',"meta":{"tag":[%b]}}' % _TAG  # a resource has a type: it is not empty


def _tagged(meta: bytes) -> bytes:
    if not is_object(meta):
        return meta
    for member in members(meta):
        if member.name == "tag":
            tags = meta[member.start : member.end]
            if not is_array(tags) or any(map(_says_subsetted, items(tags))):
                return meta
            added = b"[%b]" % b",".join([*items(tags), _TAG])
            return meta[: member.start] + added + meta[member.end :]
    rest = meta[1:-1]
    return b'{%b"tag":[%b]}' % (rest + b"," if rest else b"", _TAG)


def _says_subsetted(tag: bytes) -> bool:
    coding = msgspec.json.decode(tag)
    return (
        type(coding) is dict
        and coding.get("system") == SUBSETTED_SYSTEM
        and coding.get("code") == SUBSETTED_CODE
    )
