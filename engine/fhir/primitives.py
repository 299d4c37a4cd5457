"""Checks of the primitive types' values in JSON. Source: FHIR R4, datatypes.html#primitive.

Patterns are those that the definitions publish; where one says less than the text of the
specification, or can be slow, the text is followed.
"""

import binascii
import re
import sys
from calendar import monthrange
from collections.abc import Callable
from typing import Any

from engine.errors import IssueCode
from engine.fhir.definitions.model import TypeModel
from engine.model import Issue

STRING_CHARACTERS_MAX = 1 << 20  # "Strings SHALL NOT exceed 1MB"


class Problem:
    """One thing that is wrong with a value, never the value itself; and the way to it, which
    grows from the inside out."""

    __slots__ = ("code", "steps", "text")

    def __init__(self, code: IssueCode, text: str, *steps: str) -> None:
        self.code: IssueCode = code
        self.text = text
        self.steps = list(steps)

    def issue(self, root: str) -> Issue:
        """As an OperationOutcome tells it; `root` is where the way begins."""
        expression = root + "".join(reversed(self.steps))
        return Issue(code=self.code, diagnostics=self.text, expression=expression)


# What is wrong with a decoded value. None: nothing. An empty list: the value is uncommon, and
# whoever holds it has to look closer.
Problems = list[Problem] | None
Check = Callable[[Any], Problems]

_RANGES = {
    "integer": (-(1 << 31), (1 << 31) - 1),
    "unsignedInt": (0, (1 << 31) - 1),
    "positiveInt": (1, (1 << 31) - 1),
}
_RULES = {
    "code": "a code: no white space but single blanks between words",
    "date": "a date: YYYY, YYYY-MM or YYYY-MM-DD",
    "dateTime": "a dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a time zone",
    "id": "an id: 1 to 64 letters, digits, '-' and '.'",
    "instant": "an instant: YYYY-MM-DDThh:mm:ss with a time zone",
    "integer64": "an integer of 64 bits, as a string",
    "oid": "an OID such as urn:oid:1.2.3",
    "time": "a time: hh:mm:ss",
    "uuid": "a UUID such as urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
}
_URIS = frozenset({"uri", "url", "canonical"})
_DOUBLE_MAX = int(sys.float_info.max)
_DAYS = frozenset({"date", "dateTime", "instant"})
_NO_WHITE_SPACE = re.compile(r"\S+", re.ASCII)
_CAPTURING = re.compile(r"(?<!\\)\((?!\?)")


def primitive_check(model: TypeModel) -> Check:
    """The check of a primitive type."""
    name = model.name
    if name == "boolean":
        return _boolean
    if name == "decimal":
        return _decimal
    if name == "base64Binary":
        return _base64
    if name == "xhtml":
        return _xhtml
    if name in _RANGES:
        return _integer(name)
    if name in _URIS:
        return _matching(_NO_WHITE_SPACE, f"must be a {name}: not empty, without white space")
    if name in _RULES and model.pattern:
        # Nobody asks for groups, and remembering them takes time.
        pattern = re.compile(_CAPTURING.sub("(?:", model.pattern), re.ASCII)
        check = _matching(pattern, f"must be {_RULES[name]}")
        return _on_a_real_day(check) if name in _DAYS else check
    return _string


def code_check(codes: tuple[str, ...]) -> Check:
    """The check of a code whose value set is known."""
    allowed = frozenset(codes)
    rule = f"must be one of these codes: {listed(codes)}"

    def code(value: Any) -> Problems:
        if type(value) is str:
            return None if value in allowed else [Problem("value", rule)]
        return wrong_type(value, "a string")

    return code


def listed(codes: tuple[str, ...]) -> str:
    """The first of some codes, for a message."""
    return ", ".join(codes[:12]) + (", and others" if len(codes) > 12 else "")


def wrong_type(value: Any, expected: str) -> list[Problem]:
    """The problem of a value whose JSON type is not the expected one."""
    if type(value) is list:
        expected = f"one value and no array: {expected}"
    elif value is None:
        expected = f"{expected}, not null"
    return [Problem("structure", f"must be {expected}")]


def _string(value: Any) -> Problems:
    if type(value) is not str:
        return wrong_type(value, "a string")
    if 0 < len(value) <= STRING_CHARACTERS_MAX:
        return None
    if not value:
        return [Problem("value", "must not be an empty string")]
    return [Problem("value", f"must have at most {STRING_CHARACTERS_MAX} characters")]


def _boolean(value: Any) -> Problems:
    return None if value is True or value is False else wrong_type(value, "true or false")


def _decimal(value: Any) -> Problems:
    if type(value) is float:
        return None
    if type(value) is int:
        if -_DOUBLE_MAX <= value <= _DOUBLE_MAX:
            return None
        return [Problem("value", "must be a number that an IEEE double can hold")]
    return wrong_type(value, "a number")


def _integer(name: str) -> Check:
    low, high = _RANGES[name]
    rule = f"must be from {low} to {high}"

    def integer(value: Any) -> Problems:
        if type(value) is int:
            return None if low <= value <= high else [Problem("value", rule)]
        return wrong_type(value, "an integer, without fraction and exponent")

    return integer


def _matching(pattern: re.Pattern[str], rule: str) -> Check:
    match = pattern.fullmatch

    def text(value: Any) -> Problems:
        if type(value) is not str:
            return wrong_type(value, "a string")
        return None if match(value) else [Problem("value", rule)]

    return text


def _on_a_real_day(check: Check) -> Check:
    """The patterns let 30 February pass; dates have to be valid ones."""

    def day(value: Any) -> Problems:
        problems = check(value)
        if problems is None and value[8:10] > "28":
            last = monthrange(int(value[:4]), int(value[5:7]))[1]
            if int(value[8:10]) > last:
                return [Problem("value", "must be a day that is in the calendar")]
        return problems

    return day


def _base64(value: Any) -> Problems:
    if type(value) is not str:
        return wrong_type(value, "a string")
    if value.isascii():
        try:
            if binascii.a2b_base64("".join(value.split()), strict_mode=True):
                return None
        except binascii.Error:
            pass
    return [Problem("value", "must be base64, and not empty")]


def _xhtml(value: Any) -> Problems:
    if type(value) is not str:
        return wrong_type(value, "a string")
    if value.lstrip().startswith("<div"):
        return None
    return [Problem("value", "must be a <div> of XHTML")]
