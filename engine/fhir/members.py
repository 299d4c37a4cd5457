"""Where the members of an object and the items of an array lie in their text.

For whoever changes a part of a resource and leaves every other byte alone. Only text
without white space between tokens, as `body.minified` gives it.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)

_KEY = re.compile(rb'"(?:[^"\\]|\\.)*":')
_SCANNER = json.JSONDecoder(parse_float=str, parse_int=str)


class Member(NamedTuple):
    """One member of an object, as offsets in the object's text."""

    name: str
    at: int  # where its name begins, at the quote
    start: int  # of its value
    end: int  # behind its value


def members(text: bytes) -> list[Member]:
    """The members of an object in their order, one that comes twice included."""
    found = _members.decode(text)
    names = sum(map(len, found))
    size = names + sum(map(len, found.values())) + 4 * len(found) + 1
    if size != len(text) and found:
        return list(_scanned(text))  # a name that is not spelled as it reads, or comes twice
    places = []
    at = 1
    for name, value in found.items():
        start = at + len(name) + 3
        end = start + len(value)
        places.append(Member(name, at, start, end))
        at = end + 1
    return places


def items(text: bytes) -> list[bytes]:
    """The values of an array, each as its bytes."""
    return [bytes(item) for item in _items.decode(text)]


def is_object(text: bytes) -> bool:
    """Whether a JSON value is an object."""
    return text[:1] == b"{"


def is_array(text: bytes) -> bool:
    """Whether a JSON value is an array."""
    return text[:1] == b"["


def is_string(text: bytes) -> bool:
    """Whether a JSON value is a string."""
    return text[:1] == b'"'


def string_of(text: bytes) -> str:
    """What a JSON string reads as."""
    return _string.decode(text)


def _scanned(text: bytes) -> Iterator[Member]:
    """As `members`, value by value: slow, and seldom needed."""
    # One byte as one character: offsets stay, and the brackets of JSON are ASCII.
    flat = text.decode("latin-1")
    at = 1
    while at < len(text) - 1:
        key = _KEY.match(text, at)
        assert key is not None  # the decoder has seen a key here
        _, end = _SCANNER.raw_decode(flat, key.end())
        yield Member(string_of(key[0][:-1]), at, key.end(), end)
        at = end + 1
