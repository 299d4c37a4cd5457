"""Whether one value of a resource matches one value of a query (FHIR R4 search.html 3.1.1.4).

Each rule is written from the specification's text; where that leaves a choice, from the list in
docs/search.md.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from fractions import Fraction

from tests.oracle.fhirpath import Node
from tests.oracle.spans import Span, implied, is_number, span_of_time, spans_of

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")


class Malformed(Exception):
    """The query's value is not of its parameter's kind."""


@dataclass(frozen=True)
class Surroundings:
    """What is true where a query is evaluated."""

    base: str  # the server's own base URL, without a slash at its end
    now: Fraction  # seconds since 1970
    zone: tzinfo = UTC  # of dates without one


# Strings.


def normalized(text: str) -> str:
    """Without marks, case and repeated white space."""
    decomposed = unicodedata.normalize("NFKD", text)
    letters = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return " ".join(letters.casefold().split())


_NAME_PARTS = ("family", "given", "prefix", "suffix", "text")
_ADDRESS_PARTS = ("line", "city", "district", "state", "postalCode", "country", "text")


def strings(node: Node) -> Iterator[str]:
    """The texts of an element that a string parameter looks at."""
    value = node.value
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        names = _ADDRESS_PARTS if node.type == "Address" else _NAME_PARTS
        for name in names:
            part = value.get(name, ())
            yield from [part] if isinstance(part, str) else [one for one in part if one is not None]


def string_matches(node: Node, wanted: str, modifier: str) -> bool:
    if modifier == "exact":
        return wanted in strings(node)
    sought = normalized(wanted)
    for text in map(normalized, strings(node)):
        if sought in text if modifier == "contains" else text.startswith(sought):
            return True
    return False


# Tokens.


@dataclass(frozen=True)
class Coded:
    """A token of a resource."""

    system: str | None
    code: str | None
    folded: bool = False  # an element of type string: case does not matter

    @property
    def compared(self) -> str:
        """Its code, as it is put in order."""
        code = self.code or ""
        return code.casefold() if self.folded else code


def tokens(node: Node) -> Iterator[Coded]:
    """The tokens of an element."""
    value = node.value
    if isinstance(value, bool):
        yield Coded(None, "true" if value else "false")
    elif isinstance(value, str):
        yield Coded(None, value, folded=node.type == "string")
    elif isinstance(value, (int, Decimal)):
        yield Coded(None, str(value))
    elif not isinstance(value, dict):
        return
    elif node.type == "CodeableConcept" or "coding" in value:
        for coding in value.get("coding", ()):
            yield from _coded(coding.get("system"), coding.get("code"))
    elif node.type == "Identifier":
        yield from _coded(value.get("system"), value.get("value"))
    elif node.type == "ContactPoint":
        yield from _coded(None, value.get("value"))
    elif node.type == "Coding":
        yield from _coded(value.get("system"), value.get("code"))


def _coded(system: str | None, code: str | None) -> Iterator[Coded]:
    if system or code:
        yield Coded(system, code)


def token_matches(node: Node, wanted: list[str]) -> bool:
    """`wanted` is the query's value, split at its bars."""
    return any(_token_matches(one, wanted) for one in tokens(node))


def _token_matches(one: Coded, wanted: list[str]) -> bool:
    system = wanted[0] if len(wanted) > 1 else None
    code = wanted[-1]
    if system == "" and one.system is not None:
        return False
    if system and one.system != system:
        return False
    if not code:
        return True
    if one.folded:
        return one.code is not None and one.code.casefold() == code.casefold()
    return one.code == code


def typed_identifier_matches(node: Node, wanted: list[str]) -> bool:
    """`:of-type` with `system|code|value`."""
    if not isinstance(node.value, dict) or node.value.get("value") != wanted[2]:
        return False
    codings = node.value.get("type", {}).get("coding", ())
    return any(one.get("system") == wanted[0] and one.get("code") == wanted[1] for one in codings)


# Numbers and quantities.


def split_prefix(text: str) -> tuple[str, str]:
    if text[:2] in PREFIXES:
        return text[:2], text[2:]
    return "eq", text


def number_matches(value: tuple[Decimal, Decimal], text: str) -> bool:
    """`value` is what the element says, as its lower and its upper end."""
    prefix, digits = split_prefix(text)
    if not is_number(digits):
        raise Malformed(text)
    low, high = value
    exact = Decimal(digits)
    begin, end = implied(digits)
    inside = begin <= low and high < end
    if prefix == "ap":
        tenth = abs(exact) / 10
        return exact - tenth <= high and low <= exact + tenth
    return {
        "eq": inside,
        "ne": not inside,
        "gt": high > exact,
        "lt": low < exact,
        "ge": high >= exact,
        "le": low <= exact,
        "sa": low > exact,
        "eb": high < exact,
    }[prefix]


def numbers(node: Node) -> Iterator[tuple[Decimal, Decimal]]:
    if node.type == "Range":  # found by either end: docs/search.md
        yield from ((one.low, one.high) for one in amounts(node))
    if isinstance(node.value, (int, Decimal)) and not isinstance(node.value, bool):
        yield Decimal(node.value), Decimal(node.value)


@dataclass(frozen=True)
class Amount:
    """A quantity of a resource."""

    low: Decimal
    high: Decimal
    system: str | None
    code: str | None
    unit: str | None


def amounts(node: Node) -> Iterator[Amount]:
    value = node.value
    if not isinstance(value, dict):
        return
    if node.type == "Range":  # found by either end: docs/search.md
        for end in ("low", "high"):
            yield from amounts(Node("Quantity", value.get(end), None))
    elif node.type == "Money":
        if "value" in value:
            number = Decimal(value["value"])
            currency = value.get("currency")
            yield Amount(number, number, "urn:iso:std:iso:4217", currency, currency)
    elif "value" in value:
        number = Decimal(value["value"])
        yield Amount(number, number, value.get("system"), value.get("code"), value.get("unit"))


def amount_matches(amount: Amount, wanted: list[str]) -> bool:
    """`n`, `n|system|code`, or `n||unit` where the unit may be a code or what people read."""
    if len(wanted) not in (1, 3):
        raise Malformed("|".join(wanted))
    if not number_matches((amount.low, amount.high), wanted[0]):
        return False
    if len(wanted) == 1:
        return True
    system, unit = wanted[1:]
    if not system:
        return not unit or unit in (amount.code, amount.unit)
    return amount.system == system and unit in ("", amount.code)


# Dates.


def date_matches(value: Span, text: str, around: Surroundings) -> bool:
    prefix, written = split_prefix(text)
    wanted = span_of_time(written, around.zone)
    if wanted is None:
        raise Malformed(text)
    if prefix == "ap":
        gap = max(wanted.lo - around.now, around.now - wanted.hi, Fraction(0))
        slack = Fraction(int(gap * 100), 1000)  # a tenth, in whole milliseconds
        return Span(wanted.lo - slack, wanted.hi + slack).overlaps(value)
    inside = wanted.contains(value)
    return {
        "eq": inside,
        "ne": not inside,
        "gt": value.hi > wanted.hi,
        "lt": value.lo < wanted.lo,
        "ge": value.hi > wanted.hi or inside,
        "le": value.lo < wanted.lo or inside,
        "sa": value.lo >= wanted.hi,
        "eb": value.hi <= wanted.lo,
    }[prefix]


def dates(node: Node, around: Surroundings) -> list[Span]:
    return spans_of(node.type, node.value, around.zone)


# Uris.


def uri_matches(node: Node, wanted: str, modifier: str) -> bool:
    """`:below`: what is under its path, `:above`: what its path is under, by whole steps."""
    value = node.value
    if not isinstance(value, str):
        return False
    said = {value, _unversioned(value)} if node.type == "canonical" else {value}
    if modifier == "below":
        return any(one == wanted or one.startswith(_as_folder(wanted)) for one in said)
    if modifier == "above":
        return any(one == wanted or wanted.startswith(_as_folder(one)) for one in said)
    return wanted in said


def _as_folder(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"


def _unversioned(canonical: str) -> str:
    return canonical.partition("|")[0]


# References.

_LOCAL = re.compile(
    r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?\Z"
)


@dataclass(frozen=True)
class Target:
    """Where a reference points: to a resource of this server, or to an address."""

    type: str = ""
    id: str = ""
    version: str = ""
    url: str = ""


def target_of(text: str, around: Surroundings) -> Target | None:
    """Of the text of a reference. None: it points into its own resource, or nowhere."""
    if not text or text.startswith("#"):
        return None
    text = text.removeprefix(around.base + "/")
    match = _LOCAL.match(text)
    if match:
        return Target(match[1], match[2], match[3] or "")
    return Target(url=text)


def target(node: Node, around: Surroundings) -> Target | None:
    text = node.value
    if isinstance(text, dict):
        if "resourceType" in text:  # one that is held, and not referred to
            return Target(text["resourceType"], text.get("id", ""))
        text = text.get("reference")
    return target_of(text, around) if isinstance(text, str) else None


def reference_matches(node: Node, wanted: str, types: frozenset[str], around: Surroundings) -> bool:
    """`types` are those that an id alone may belong to."""
    found = target(node, around)
    if found is None:
        return False
    if re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", wanted):
        return found.type in types and found.id == wanted
    sought = target_of(wanted, around)
    assert sought is not None
    if sought.id:
        return (found.type, found.id) == (sought.type, sought.id)
    return bool(found.url) and sought.url in _meant(found.url)


def _meant(url: str) -> set[str]:
    """What a reference to an address is found by: that of a version by the resource's, too, and
    a canonical with a version without it."""
    current = re.sub(r"/_history/[A-Za-z0-9\-.]{1,64}$", "", url)
    return {url, _unversioned(url), current, _unversioned(current)}
