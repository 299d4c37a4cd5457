"""JSON Patch (RFC 6902) on the text of a resource.

Only the objects and arrays on the way to a change are opened: every other value keeps its
bytes, so digits, escapes and the order of members stay as they are stored. Source: FHIR R4
http.html#patch.
"""

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from engine.errors import BadRequest, PatchFailed, ResourceInvalid, ResourceTooLarge
from engine.fhir.body import DEPTH_MAX, minified_value
from engine.fhir.members import is_array, is_object, is_string, items, members, string_of

OPERATIONS_MAX = 10_000  # of one patch; more is another resource

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_BAD_ESCAPE = re.compile(r"~(?![01])")
_ABSENT = msgspec.Raw()

Pointer = tuple[str, ...]


class Operation(msgspec.Struct, frozen=True):
    """One operation of a patch."""

    number: int  # its place in the patch, from 0
    name: str  # add, remove, replace, move, copy or test
    path: Pointer
    source: Pointer = ()  # "from" of move and copy
    value: bytes = b""  # of add, replace and test


class Patch(msgspec.Struct, frozen=True):
    """A patch that has been read, for any resource."""

    operations: tuple[Operation, ...]

    def applied(self, text: bytes, *, bytes_max: int) -> bytes:
        """A resource without white space, changed, also without. `bytes_max` bounds what is
        copied in it.

        Raises PatchFailed, and then nothing of the patch counts (RFC 6902 section 5);
        BadRequest if it would change what the resource is; ResourceTooLarge.
        """
        try:
            return self._applied(text, bytes_max)
        except RecursionError:
            raise ResourceInvalid(
                f"would be nested deeper than {DEPTH_MAX} levels", code="too-costly"
            ) from None

    def _applied(self, text: bytes, bytes_max: int) -> bytes:
        root = _Node(text)
        before = [_identity(root, name) for name in _IDENTITY]
        copied = 0
        for operation in self.operations:
            if operation.name == "copy":  # copies of copies would double and double
                copied += len(_find(root, operation.source, operation).written())
                if copied > bytes_max:
                    raise ResourceTooLarge(bytes_max)
            root = _APPLY[operation.name](root, operation)
        if not is_object(root.text) and root.opened is None:
            raise BadRequest("a patch must leave an object, with the resource's own type and id")
        for name, value in zip(_IDENTITY, before, strict=True):
            if _identity(root, name) != value:
                raise BadRequest(
                    f"a patch cannot change {name}: create another resource instead",
                    expression=f"Resource.{name}",
                )
        return root.written()


_IDENTITY = ("resourceType", "id")


# Reading a patch.


class _Given(msgspec.Struct):
    """One operation as it is sent."""

    op: str
    path: str
    value: msgspec.Raw = _ABSENT
    source: str | None = msgspec.field(default=None, name="from")


_raws = msgspec.json.Decoder(list[msgspec.Raw])
_given = msgspec.json.Decoder(_Given)


def parse_patch(raw: bytes) -> Patch:
    """The operations of a JSON Patch document. Raises ResourceInvalid if it is not sound JSON,
    BadRequest if it is no patch; no message holds content."""
    text = minified_value(raw)
    try:
        given = _raws.decode(text)
    except msgspec.DecodeError:
        raise BadRequest(
            "a JSON Patch is an array of operations, such as "
            '[{"op":"replace","path":"/active","value":false}]'
        ) from None
    if len(given) > OPERATIONS_MAX:
        raise BadRequest(f"a patch may have at most {OPERATIONS_MAX} operations")
    return Patch(tuple(_operation(number, bytes(raw)) for number, raw in enumerate(given)))


def _operation(number: int, text: bytes) -> Operation:
    try:
        given = _given.decode(text)
    except msgspec.DecodeError:
        raise _malformed(number, 'it needs "op" and "path", both strings') from None
    if given.op not in _APPLY:
        raise _malformed(number, f"op must be one of {', '.join(_APPLY)}")
    if given.op in ("add", "replace", "test") and not len(given.value):
        raise _malformed(number, f'{given.op} needs a "value"')
    source: Pointer = ()
    if given.op in ("move", "copy"):
        if given.source is None:
            raise _malformed(number, f'{given.op} needs a "from"')
        source = _pointer(number, given.source, "from")
    path = _pointer(number, given.path, "path")
    return Operation(number, given.op, path, source, bytes(given.value))


def _pointer(number: int, text: str, name: str) -> Pointer:
    """A JSON Pointer (RFC 6901)."""
    if text == "":
        return ()
    if text[0] != "/" or _BAD_ESCAPE.search(text):
        raise _malformed(number, f"{name} is not a JSON Pointer such as /name/0/family")
    steps = text[1:].split("/")
    if len(steps) > DEPTH_MAX:
        raise _malformed(number, f"{name} has more than {DEPTH_MAX} steps")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def _malformed(number: int, why: str) -> BadRequest:
    return BadRequest(f"operation {number} of the patch is malformed: {why}")


# Values, opened one level at a time.


class _Node:
    """A JSON value: its text, or, once a part of it was looked at, its parts."""

    __slots__ = ("opened", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.opened: dict[str, tuple[bytes, _Node]] | list[_Node] | None = None

    def parts(self) -> "dict[str, tuple[bytes, _Node]] | list[_Node] | None":
        """Members by name, each with its name as written; or items; None of anything else."""
        if self.opened is None:
            if is_object(self.text):
                text = self.text
                self.opened = {
                    name: (text[at:start], _Node(text[start:end]))
                    for name, at, start, end in members(text)
                }
            elif is_array(self.text):
                self.opened = [_Node(item) for item in items(self.text)]
        return self.opened

    def written(self) -> bytes:
        """The text with all changes."""
        if isinstance(self.opened, dict):
            return b"{%b}" % b",".join(
                [name + node.written() for name, node in self.opened.values()]
            )
        if isinstance(self.opened, list):
            return b"[%b]" % b",".join([node.written() for node in self.opened])
        return self.text


def _identity(root: _Node, name: str) -> object:
    parts = root.parts()
    if not isinstance(parts, dict) or name not in parts:
        return None
    text = parts[name][1].written()
    return string_of(text) if is_string(text) else text


def _step(node: _Node, step: str, operation: Operation) -> _Node:
    """The part of a value that one step of a pointer leads to."""
    parts = node.parts()
    if isinstance(parts, dict) and step in parts:
        return parts[step][1]
    if isinstance(parts, list) and _INDEX.fullmatch(step) and int(step) < len(parts):
        return parts[int(step)]
    raise _failed(operation, "its path leads to nothing in the resource")


def _find(root: _Node, path: Pointer, operation: Operation) -> _Node:
    for step in path:
        root = _step(root, step, operation)
    return root


def _place(parts: Sequence[_Node], step: str, operation: Operation) -> int:
    """Where in an array a value is to be put in."""
    if step == "-":
        return len(parts)
    if _INDEX.fullmatch(step) and int(step) <= len(parts):
        return int(step)
    raise _failed(operation, "its path names no place in the array: 0 to its length, or -")


# The operations: each gives the root as it is afterwards.


def _put(root: _Node, path: Pointer, value: _Node, operation: Operation) -> _Node:
    if not path:
        return value
    parent, last = _find(root, path[:-1], operation), path[-1]
    parts = parent.parts()
    if isinstance(parts, dict):
        name = parts[last][0] if last in parts else msgspec.json.encode(last) + b":"
        parts[last] = (name, value)
    elif isinstance(parts, list):
        parts.insert(_place(parts, last, operation), value)
    else:
        raise _failed(operation, "its path leads into a value that is no object and no array")
    return root


def _take(root: _Node, path: Pointer, operation: Operation) -> _Node:
    """The value at a path, out of where it was."""
    if not path:
        raise _failed(operation, "the whole resource cannot be removed: use DELETE")
    parent = _find(root, path[:-1], operation)
    node = _step(parent, path[-1], operation)
    parts = parent.parts()
    if isinstance(parts, dict):
        del parts[path[-1]]
    else:
        assert isinstance(parts, list)
        del parts[int(path[-1])]
    return node


def _add(root: _Node, operation: Operation) -> _Node:
    return _put(root, operation.path, _Node(operation.value), operation)


def _remove(root: _Node, operation: Operation) -> _Node:
    _take(root, operation.path, operation)
    return root


def _replace(root: _Node, operation: Operation) -> _Node:
    found = _find(root, operation.path, operation)
    found.text, found.opened = operation.value, None  # in place, so that order stays
    return root


def _move(root: _Node, operation: Operation) -> _Node:
    source, path = operation.source, operation.path
    if path == source:
        _find(root, source, operation)
        return root
    if path[: len(source)] == source:
        raise _failed(operation, "a value cannot be moved into itself")
    return _put(root, path, _take(root, source, operation), operation)


def _copy(root: _Node, operation: Operation) -> _Node:
    copied = _Node(_find(root, operation.source, operation).written())
    return _put(root, operation.path, copied, operation)


def _test(root: _Node, operation: Operation) -> _Node:
    if not _equal(_find(root, operation.path, operation).written(), operation.value):
        raise _failed(operation, "its test failed: the resource has another value there")
    return root


_APPLY: dict[str, Callable[[_Node, Operation], _Node]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _failed(operation: Operation, why: str) -> PatchFailed:
    return PatchFailed(f"operation {operation.number} of the patch ({operation.name}): {why}")


# Equality as RFC 6902 section 4.6 has it: numbers by value, members in any order.


def _equal(left: bytes, right: bytes) -> bool:
    return left == right or _alike(_value(left), _value(right))


def _value(text: bytes) -> Any:
    try:
        return json.loads(text, parse_int=Decimal, parse_float=Decimal)
    except RecursionError:
        raise ResourceInvalid("nested too deep to be compared", code="too-costly") from None


def _alike(left: Any, right: Any) -> bool:
    """Equal, and of the same JSON type: 1 is not true."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_alike(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_alike, left, right))
    return bool(left == right)
