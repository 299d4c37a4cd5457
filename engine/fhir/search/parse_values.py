"""Values of search parameters: from the text of one value to a typed one of the query tree.

Sources: FHIR R4 search.html, the chapters of the parameter types (number, date, string, token,
reference, composite, quantity, uri), "Prefixes" and "Escaping Search Parameters". A message of
an error names the rule and never the value: a value may be a patient's name.
"""

import math
import re
from datetime import tzinfo
from decimal import Decimal

import msgspec

from engine.errors import BadParameter
from engine.fhir.definitions.model import Definitions, SearchKind, TypeKind
from engine.fhir.ids import ID_PATTERN, ID_RULE, TYPE_PATTERN
from engine.fhir.search.escaping import split, unescape
from engine.fhir.search.tree import (
    Composite,
    Instant,
    Modifier,
    Number,
    Parameter,
    Prefix,
    Quantity,
    Reference,
    Text,
    Token,
    TypedIdentifier,
    Value,
)
from engine.fhir.search.values import date_range, implied_range, normalize

# Longer ones are no codes, names or urls, and their comparison is paid by everybody.
VALUE_CHARS_MAX = 4096

_PREFIX = re.compile("(" + "|".join(Prefix) + ")?(.*)", re.DOTALL)
_LOCAL = re.compile(
    rf"(?:(?P<type>{TYPE_PATTERN})/)?(?P<id>{ID_PATTERN})"
    rf"|(?P<vtype>{TYPE_PATTERN})/(?P<vid>{ID_PATTERN})/_history/(?P<version>{ID_PATTERN})"
)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")

_ABSTRACT = frozenset({"Resource", "DomainResource"})


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the meaning of a value depends on beside its parameter."""

    definitions: Definitions
    now_ms: int
    zone: tzinfo  # of dates without one
    base_urls: tuple[str, ...]  # of the tenant, without a slash at the end: local references


def is_resource_type(definitions: Definitions, name: str) -> bool:
    """Whether the release has resources of this type."""
    model = definitions.types.get(name)
    return model is not None and model.kind is TypeKind.RESOURCE and name not in _ABSTRACT


def resource_types(definitions: Definitions) -> tuple[str, ...]:
    """All types that resources can have, in alphabetical order."""
    return tuple(sorted(name for name in definitions.types if is_resource_type(definitions, name)))


def parse_value(
    parameter: Parameter,
    text: str,
    reading: Reading,
    *,
    modifier: Modifier = Modifier.NONE,
    type: str = "",
) -> Value:
    """One value, its escapes still in it, as `parameter` compares it. `type`: of a reference, the
    type that its name demands (`subject:Patient`). Raises BadParameter."""
    if len(text) > VALUE_CHARS_MAX:
        raise BadParameter(f"a value has more than {VALUE_CHARS_MAX} characters: shorten it")
    match parameter.kind:
        case SearchKind.TOKEN:
            if modifier is Modifier.OF_TYPE:
                return typed_identifier(text)
            return _without_case(token(text)) if _folded(parameter) else token(text)
        case SearchKind.STRING:
            return _string(text, modifier)
        case SearchKind.REFERENCE:
            return _reference(parameter, text, reading, type)
        case SearchKind.DATE:
            return instant(text, reading)
        case SearchKind.NUMBER:
            return _number(unescape(text))
        case SearchKind.QUANTITY:
            return _quantity(text)
        case SearchKind.URI:
            return _uri(text, modifier)
        case SearchKind.COMPOSITE:
            return _composite(parameter, text, reading)
        case SearchKind.SPECIAL:
            raise AssertionError("no definitions hold a special parameter")


# Tokens.


def token(text: str) -> Token:
    """`code`, `system|code`, `|code` or `system|`. Raises BadParameter."""
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) == 1:
        return Token(None, pieces[0])
    if len(pieces) == 2 and any(pieces):
        return Token(pieces[0], pieces[1] or None)
    raise BadParameter(
        r"a token is code, system|code, |code or system|; write a bar of the value as '\|'"
    )


def _folded(parameter: Parameter) -> bool:
    """Whether it looks at strings alone, whose case does not count (search.html#token)."""
    return bool(parameter.paths) and all(path.folded for path in parameter.paths)


def _without_case(value: Token) -> Token:
    return Token(value.system, value.code and value.code.casefold())


def typed_identifier(text: str) -> TypedIdentifier:
    """`system|code|value` of `:of-type`. Raises BadParameter."""
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) != 3 or not all(pieces):
        raise BadParameter(
            "a value of :of-type is system|code|value: the type of the identifier by its system "
            "and code, then the identifier's value; none may be left out"
        )
    return TypedIdentifier(*pieces)


# Texts.


def _string(text: str, modifier: Modifier) -> Text:
    meant = unescape(text)
    if modifier is not Modifier.EXACT and not normalize(meant):
        raise BadParameter("a string needs at least one character other than spaces and accents")
    return Text(meant)


def _uri(text: str, modifier: Modifier) -> Text:
    meant = unescape(text)
    if modifier in (Modifier.ABOVE, Modifier.BELOW) and "://" not in meant:
        raise BadParameter(
            f":{modifier} compares the paths of urls such as http://example.org/fhir; "
            "other uris, such as urn:oid:1.2.3, have none: leave the modifier out"
        )
    return Text(meant)


# Ordered values.


def instant(text: str, reading: Reading) -> Instant:
    """A date with an optional prefix, as its range. Raises BadParameter."""
    prefix, written = _prefixed(unescape(text))
    try:
        lo, hi = date_range(written, reading.zone)
    except ValueError:
        raise BadParameter(
            "a date is YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss[.sss]] with an optional "
            "zone (Z, +hh:mm or -hh:mm), after an optional prefix such as ge; it must exist"
        ) from None
    if prefix is Prefix.AP:
        # A tenth of the gap between now and the date, as the specification recommends.
        slack = max(lo - reading.now_ms, reading.now_ms - hi, 0) // 10
        lo, hi = lo - slack, hi + slack
    return Instant(prefix, lo, hi)


def _number(text: str) -> Number:
    prefix, written = _prefixed(text)
    try:
        lo, hi = implied_range(written)
    except ValueError:
        raise BadParameter(
            "a number is written as 100, -5.40 or 1e2, after an optional prefix such as ge"
        ) from None
    if prefix is Prefix.AP:
        exact = Decimal(written)
        tenth = abs(exact) / 10
        # Both ends belong to it, also where they are one: a tenth of 0 is 0.
        lo, hi = float(exact - tenth), math.nextafter(float(exact + tenth), math.inf)
    return Number(prefix, float(written), lo, hi)


def _quantity(text: str) -> Quantity:
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) not in (1, 3):
        raise BadParameter(
            "a quantity is number, number|system|code or number||unit, such as "
            "5.4|http://unitsofmeasure.org|mg, after an optional prefix such as ge"
        )
    number = _number(pieces[0])
    if len(pieces) == 1:
        return Quantity(number, None, None)
    return Quantity(number, pieces[1] or None, pieces[2] or None)


def _prefixed(text: str) -> tuple[Prefix, str]:
    found = _PREFIX.fullmatch(text)
    assert found is not None, "the pattern matches every text"
    return Prefix(found[1] or Prefix.EQ), found[2]


# References.


def _reference(parameter: Parameter, text: str, reading: Reading, type: str) -> Reference:
    pieces = [unescape(piece) for piece in split(text, "|")]
    target, version = pieces[0], pieces[1] if len(pieces) == 2 else ""
    canonical = len(pieces) == 2 and version and _ABSOLUTE.fullmatch(target)
    if len(pieces) > 1 and not canonical:
        raise BadParameter("only a canonical url has a version after one bar: url|version")
    local = None if canonical else _LOCAL.fullmatch(_without_base(target, reading.base_urls))
    if local is None:
        return _remote(target, version, type)
    named = local["type"] or local["vtype"] or ""
    if named and not is_resource_type(reading.definitions, named):
        release = reading.definitions.release
        raise BadParameter(f"what stands before the id is not a resource type of FHIR {release}")
    if named and type and named != type:
        raise BadParameter(f"the name demands {type} and the value another type: name one")
    wanted = named or type
    types = (wanted,) if wanted else parameter.targets or resource_types(reading.definitions)
    return Reference(types, local["id"] or local["vid"], local["version"] or "")


def _without_base(text: str, base_urls: tuple[str, ...]) -> str:
    """The part below the tenant's own base url, if it names a resource there."""
    for base in base_urls:
        below = text.removeprefix(f"{base}/")
        if below != text and "/" in below and _LOCAL.fullmatch(below):
            return below
    return text


def _remote(url: str, version: str, type: str) -> Reference:
    if not _ABSOLUTE.fullmatch(url):
        raise BadParameter(
            f"a reference is an id ({ID_RULE}), Type/id, Type/id/_history/version, an absolute "
            "url, or a canonical url|version"
        )
    if type:
        raise BadParameter(
            f"what an absolute url of elsewhere points to has no type that is known here: leave "
            f":{type} out"
        )
    return Reference(url=url, version=version)


# Composites.


def _composite(parameter: Parameter, text: str, reading: Reading) -> Composite:
    pieces = split(text, "$")
    names = "$".join(component.code for component in parameter.components)
    if len(pieces) != len(parameter.components) or not all(pieces):
        raise BadParameter(
            f"a value of '{parameter.code}' has {len(parameter.components)} parts joined by '$': "
            f"{names}"
        )
    parts = zip(parameter.components, pieces, strict=True)
    return Composite(tuple(parse_value(component, piece, reading) for component, piece in parts))
