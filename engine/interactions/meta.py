"""Meta: profiles, tags and security labels of a resource, added and taken away.

All else of the resource, and of its meta, keeps its bytes. Source: FHIR R4
resource-operation-meta-add.html, resource-operation-meta-delete.html.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.errors import ResourceInvalid
from engine.fhir.members import members

LABELS = ("profile", "security", "tag")

Labels = dict[str, list[msgspec.Raw]]
_meta = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def meta_of(body: bytes) -> bytes:
    """The meta of a stored body, as JSON."""
    found = next(member for member in members(body) if member.name == "meta")
    return body[found.start : found.end]


def parse_labels(meta: bytes) -> Labels:
    """The labels of a Meta that somebody sent. Raises ResourceInvalid if it is none."""
    try:
        return _labels(_meta.decode(meta))
    except (msgspec.DecodeError, RecursionError):
        raise ResourceInvalid("has a meta that is no Meta: send valueMeta", code="value") from None


def with_labels(body: bytes, labels: Labels) -> bytes:
    """A stored body with these labels too; those that it has stay as they are."""

    def added(old: list[msgspec.Raw], new: list[msgspec.Raw]) -> list[msgspec.Raw]:
        kept = list(old)
        known = set(map(_identity, old))
        for label in new:
            if _identity(label) not in known:
                known.add(_identity(label))
                kept.append(label)
        return kept

    return _changed(body, labels, added)


def without_labels(body: bytes, labels: Labels) -> bytes:
    """A stored body without these labels. A coding is known by its system and code."""

    def left(old: list[msgspec.Raw], new: list[msgspec.Raw]) -> list[msgspec.Raw]:
        gone = set(map(_identity, new))
        return [label for label in old if _identity(label) not in gone]

    return _changed(body, labels, left)


Change = Callable[[list[msgspec.Raw], list[msgspec.Raw]], list[msgspec.Raw]]


def _changed(body: bytes, labels: Labels, change: Change) -> bytes:
    """The body with changed labels; the same object if nothing changes."""
    place = next(member for member in members(body) if member.name == "meta")
    meta = _meta.decode(body[place.start : place.end])
    old = _labels(meta)
    new = {name: change(old[name], labels[name]) for name in LABELS}
    if new == old:
        return body
    for name in LABELS:
        if new[name]:
            meta[name] = msgspec.Raw(_array(new[name]))
        else:
            meta.pop(name, None)
    text = b",".join(msgspec.json.encode(name) + b":" + bytes(raw) for name, raw in meta.items())
    return b"%b{%b}%b" % (body[: place.start], text, body[place.end :])


def _labels(meta: dict[str, msgspec.Raw]) -> Labels:
    return {name: _list.decode(meta[name]) if name in meta else [] for name in LABELS}


def _array(items: Sequence[msgspec.Raw]) -> bytes:
    return b"[%b]" % b",".join(map(bytes, items))


def _identity(label: msgspec.Raw) -> object:
    """What makes two labels the same: a profile's text, a coding's system and code."""
    value: Any = msgspec.json.decode(label)
    if isinstance(value, dict):
        return str(value.get("system")), str(value.get("code"))
    return str(value)
