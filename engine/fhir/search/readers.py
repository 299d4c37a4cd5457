"""Reads values of FHIR data types into what an index can hold, by the kind of parameter.

A reader takes one JSON value and gives a list of plain tuples; what is malformed gives none, for
validation may be off. Members with a `_` before their name are not looked at: a value that is
only an extension is no value. Source: FHIR R4 search.html#string, #token, #reference, #date,
#number, #quantity.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from math import isfinite
from typing import Any, NamedTuple

from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.values import date_range, normalize, period_range, written

CURRENCIES = "urn:iso:std:iso:4217"  # the system of Money.currency
CACHED_MAX = 20_000  # values of one kind whose reading is kept; then all are forgotten
CACHED_CHARACTERS_MAX = 64

_PRIMITIVE_TOKENS = ("code", "string", "id", "uri", "url", "canonical", "oid", "uuid", "markdown")
_WHOLE = ("integer", "positiveInt", "unsignedInt")
_CODED = ("Coding", "CodeableConcept", "Identifier", "ContactPoint")
_QUANTITIES = ("Quantity", "Age", "Duration", "Count", "Distance")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HISTORY = re.compile(r"/_history/[A-Za-z0-9\-.]{1,64}$")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE_AND_ID = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")

# What is read of a value of a FHIR type, for a kind of parameter. Published parameters also
# lead to types that are not here, such as Observation.value as SampledData for a quantity or
# Procedure.performed as Age for a date: those values are not found by them (docs/search.md).
READABLE: Mapping[SearchKind, frozenset[str]] = {
    SearchKind.TOKEN: frozenset((*_PRIMITIVE_TOKENS, *_WHOLE, "boolean", *_CODED)),
    SearchKind.URI: frozenset(("uri", "url", "canonical", "oid", "uuid")),
    SearchKind.STRING: frozenset((*_PRIMITIVE_TOKENS, "HumanName", "Address")),
    SearchKind.REFERENCE: frozenset(("Reference", "canonical", "uri", "url", "Resource")),
    SearchKind.DATE: frozenset(("date", "dateTime", "instant", "Period", "Timing")),
    SearchKind.NUMBER: frozenset(("decimal", *_WHOLE, "Range")),
    SearchKind.QUANTITY: frozenset((*_QUANTITIES, "Money", "Range")),
}
# Types of which a resource may have several values in the index though it has one in JSON.
SEVERAL = frozenset(("CodeableConcept", "HumanName", "Address", "Range", "canonical"))


Unit = tuple[str, str, str]  # system, code and unit of a quantity; "" for what is not there
Measure = tuple[float, Unit]


class Pointer(NamedTuple):
    """Where a reference leads."""

    type: str  # of the resource, if it can be told; else ""
    id: str  # of a local one; else ""
    urls: tuple[str, ...]  # what it may be searched by, if it is not local


def text_of(value: object) -> str:
    """A string that may be compared; "" for what is none."""
    return value if isinstance(value, str) else ""


# Tokens: pairs of system and code.


def read_code(value: Any) -> list[tuple[str, str]]:
    """A primitive, as a code without a system."""
    if type(value) is str:
        return [("", value)] if value else []
    if type(value) is bool:
        return [("", "true" if value else "false")]
    return [("", str(value))] if type(value) is int else []


def read_folded(value: Any) -> list[tuple[str, str]]:
    """A string as a token: case does not count."""
    return [("", value.casefold())] if type(value) is str and value else []


def read_uri(value: Any) -> list[tuple[str, str]]:
    """A canonical with a version is found with it and without."""
    texts = urls_of(value) if type(value) is str else ()
    return [("", text) for text in texts]


def read_coding(value: Any) -> list[tuple[str, str]]:
    """A Coding."""
    if type(value) is not dict:
        return []
    system, code = value.get("system", ""), value.get("code", "")
    if type(system) is not str or type(code) is not str:
        system, code = text_of(system), text_of(code)
    return [(system, code)] if system or code else []


def read_concept(value: Any) -> list[tuple[str, str]]:
    """Each coding of a CodeableConcept. Its text is no token."""
    codings = value.get("coding") if type(value) is dict else None
    if type(codings) is not list:
        return []
    if len(codings) == 1:  # nearly all
        return read_coding(codings[0])
    return [token for coding in codings for token in read_coding(coding)]


def read_identifier(value: Any) -> list[tuple[str, str]]:
    """System and value of an Identifier; one without a value is found by its system."""
    if type(value) is not dict:
        return []
    system, code = text_of(value.get("system")), text_of(value.get("value"))
    return [(system, code)] if system or code else []


def read_contact(value: Any) -> list[tuple[str, str]]:
    """The value of a ContactPoint: what it names as system is no code system."""
    code = text_of(value.get("value")) if type(value) is dict else ""
    return [("", code)] if code else []


def typed_identifiers(value: Any) -> list[tuple[str, str, str]]:
    """System and code of each coding of an Identifier's type, with the value."""
    code = text_of(value.get("value")) if type(value) is dict else ""
    if not code:
        return []
    return [(*coding, code) for coding in read_concept(value.get("type"))]


def token_reader(type: str) -> Callable[[Any], list[tuple[str, str]]]:
    """For a type that READABLE has for tokens or uris."""
    readers = {
        "Coding": read_coding,
        "CodeableConcept": read_concept,
        "Identifier": read_identifier,
        "ContactPoint": read_contact,
        "canonical": read_uri,
    }
    return readers.get(type, read_code)


# Strings: pairs of the normalized text and the text as it was written.


class StringReader:
    """Strings and the parts of names and addresses."""

    _PARTS: Mapping[str, tuple[str, ...]] = {
        "HumanName": ("family", "given", "prefix", "suffix", "text"),
        "Address": ("line", "city", "district", "state", "postalCode", "country", "text"),
    }

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def reader(self, type: str) -> Callable[[Any], list[tuple[str, str]]]:
        """For a type that READABLE has for strings."""
        parts = self._PARTS.get(type)
        if parts is None:
            return self._text
        return lambda value: self._of_parts(value, parts)

    def _text(self, value: Any) -> list[tuple[str, str]]:
        if type(value) is not str or not value:
            return []
        known = self._known.get(value)
        if known is None:
            known = (normalize(value), written(value))
            if len(value) <= CACHED_CHARACTERS_MAX:
                if len(self._known) >= CACHED_MAX:
                    self._known.clear()
                self._known[value] = known
        return [known]

    def _of_parts(self, value: Any, parts: tuple[str, ...]) -> list[tuple[str, str]]:
        if type(value) is not dict:
            return []
        found: list[tuple[str, str]] = []
        for name in parts:
            part = value.get(name)
            if type(part) is list:
                for text in part:
                    found += self._text(text)
            elif part is not None:
                found += self._text(part)
        return found


# Dates: half-open ranges of milliseconds.


class DateReader:
    """Dates and spans of time; those without a zone are in the tenant's."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._known: dict[str, list[tuple[int, int]]] = {}

    def reader(self, type: str) -> Callable[[Any], list[tuple[int, int]]]:
        """For a type that READABLE has for dates."""
        return {"Period": self._period, "Timing": self._timing}.get(type, self._date)

    def _date(self, value: Any) -> list[tuple[int, int]]:
        if type(value) is not str:
            return []
        known = self._known.get(value)
        if known is not None:
            return known
        try:
            found = [date_range(value, self._zone)]
        except ValueError:
            return []
        if len(value) <= len("2026-01-31"):  # days come again, times hardly
            if len(self._known) >= CACHED_MAX:
                self._known.clear()
            self._known[value] = found
        return found

    def _period(self, value: Any) -> list[tuple[int, int]]:
        if type(value) is not dict:
            return []
        start, end = value.get("start"), value.get("end")
        starts, ends = self._date(start), self._date(end)
        if (start is not None and not starts) or (end is not None and not ends):
            return []
        if starts and ends:  # both are known by now
            lo, hi = starts[0][0], ends[0][1]
            return [(lo, hi)] if lo < hi else []
        try:
            return [period_range(start, end, self._zone)]
        except ValueError:
            return []

    def _timing(self, value: Any) -> list[tuple[int, int]]:
        """The outer bounds: nobody searches for the third dose (search.html#date)."""
        if type(value) is not dict:
            return []
        events = value.get("event")
        found = [
            span for event in (events if type(events) is list else ()) for span in self._date(event)
        ]
        repeat = value.get("repeat")
        found += self._period(repeat.get("boundsPeriod") if type(repeat) is dict else None)
        return [(min(lo for lo, _ in found), max(hi for _, hi in found))] if found else []


# Numbers and quantities.


def read_number(value: Any) -> list[float]:
    """A number that a double can hold."""
    if type(value) is float:
        return [value] if isfinite(value) else []
    if type(value) is not int:
        return []
    try:
        return [float(value)]
    except OverflowError:
        return []


def read_measure(value: Any) -> list[Measure]:
    """A Quantity. Its comparator says that the true value is not known, and is passed over."""
    if type(value) is not dict:
        return []
    get = value.get
    number = get("value")
    if type(number) is not float or not isfinite(number):
        numbers = read_number(number)
        if not numbers:
            return []
        number = numbers[0]
    unit = (get("system", ""), get("code", ""), get("unit", ""))
    if any(type(text) is not str for text in unit):
        unit = (text_of(unit[0]), text_of(unit[1]), text_of(unit[2]))
    return [(number, unit)]


def read_money(value: Any) -> list[Measure]:
    """Money, with its currency as unit."""
    if type(value) is not dict:
        return []
    currency = text_of(value.get("currency"))
    unit = (CURRENCIES if currency else "", currency, "")
    return [(number, unit) for number in read_number(value.get("value"))]


def read_range(value: Any) -> list[Measure]:
    """Both ends of a Range."""
    if type(value) is not dict:
        return []
    return read_measure(value.get("low")) + read_measure(value.get("high"))


def measure_reader(type: str) -> Callable[[Any], list[Measure]]:
    """For a type that READABLE has for quantities."""
    return {"Money": read_money, "Range": read_range}.get(type, read_measure)


def number_reader(type: str) -> Callable[[Any], list[float]]:
    """For a type that READABLE has for numbers."""
    if type == "Range":
        return lambda value: [number for number, _ in read_range(value)]
    return read_number


# References.


def urls_of(text: str) -> tuple[str, ...]:
    """The texts that find a url: itself, and without the version of a canonical."""
    url, bar, _ = text.partition("|")
    return (text, url) if bar and url else (text,) if text else ()


class ReferenceReader:
    """Tells local references from others. `bases` are the tenant's own base URLs."""

    def __init__(self, bases: Iterable[str], types: Iterable[str]) -> None:
        self._bases = tuple(base.rstrip("/") + "/" for base in bases)
        self._types = frozenset(types)

    def pointer(self, text: str) -> Pointer | None:
        """Where a reference's text leads; None for a contained resource or nonsense."""
        type, _, id = text.partition("/")
        if type in self._types and _ID.fullmatch(id):  # nearly all
            return Pointer(type, id, ())
        current = _HISTORY.sub("", text)
        relative = current
        for base in self._bases:
            if current.startswith(base):
                relative = current[len(base) :]
        match = _TYPE_AND_ID.fullmatch(relative)
        if match is not None and match[1] in self._types:
            return Pointer(match[1], match[2], ())
        if not _SCHEME.match(text):
            return None
        tail = _TYPE_AND_ID.fullmatch("/".join(current.split("/")[-2:]))
        named = tail[1] if tail is not None and tail[1] in self._types else ""
        urls = dict.fromkeys((*urls_of(text), *urls_of(current)))
        return Pointer(named, "", tuple(urls))

    def type_of(self, value: Any) -> str:
        """The type of resource that a Reference says it leads to; "" if it does not."""
        name = text_of(value.get("type")) if type(value) is dict else ""
        return name if name in self._types else ""

    def embedded(self, value: Any) -> Pointer | None:
        """A resource in a Bundle, as if it were referred to."""
        if type(value) is not dict:
            return None
        name, id = text_of(value.get("resourceType")), text_of(value.get("id"))
        return Pointer(name, id, ()) if name in self._types and id else None
