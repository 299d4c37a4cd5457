"""Negotiation: what a request's Accept, Content-Type and Prefer headers ask for.

No I/O. Sources: RFC 9110 section 12 and 8.3, RFC 7240.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from werkzeug.exceptions import NotAcceptable, UnsupportedMediaType

FHIR_JSON = "application/fhir+json"
JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
FORM = "application/x-www-form-urlencoded"
FHIR_JSON_UTF8 = f"{FHIR_JSON}; charset=utf-8"

# What `fhirVersion` may say in a media type: http.html#version-parameter.
_RELEASES = re.compile(r"4\.0(\.[01])?")
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")
_JSON_WORDS = frozenset({"json", FHIR_JSON, JSON, "application/fhir json"})


@dataclass(frozen=True)
class MediaRange:
    """One item of an Accept header."""

    type: str  # such as application/fhir+json, application/* or */*
    weight: float

    def covers(self, media_type: str) -> int:
        """0 if not; else the higher, the closer the match."""
        main = media_type.partition("/")[0]
        return {media_type: 3, f"{main}/*": 2, "*/*": 1}.get(self.type, 0)


def parse_accept(header: str) -> list[MediaRange]:
    """The items of an Accept header. One with a malformed weight, or of another release of FHIR,
    counts as refused."""
    ranges = []
    for item in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in item.split(";"))
        if name:
            ranges.append(MediaRange(name, _weight(parameters)))
    return ranges


def accepts(header: str | None, *media_types: str) -> bool:
    """Whether a client takes any of these types. No header: it takes everything (E21)."""
    if header is None or not header.strip():
        return True
    ranges = parse_accept(header)
    return any(_quality(ranges, media_type) > 0 for media_type in media_types)


def require_accept(header: str | None, *media_types: str) -> None:
    """Raise NotAcceptable unless a client takes one of these types."""
    if not accepts(header, *media_types):
        raise NotAcceptable(f"send 'Accept: {media_types[0]}': that is what this address answers")


def require_json_format(values: Iterable[str]) -> None:
    """Raise NotAcceptable if a `_format` asks for something else than JSON."""
    for value in values:
        if value.partition(";")[0].strip().lower() not in _JSON_WORDS:
            raise NotAcceptable(f"_format must be json: only {FHIR_JSON} is answered")


def require_json_body(header: str | None) -> None:
    """Raise UnsupportedMediaType unless a body is declared to be JSON of this release."""
    media_type, *parameters = (piece.strip().lower() for piece in (header or "").split(";"))
    if media_type not in (FHIR_JSON, JSON):
        raise UnsupportedMediaType(f"send the body as JSON with 'Content-Type: {FHIR_JSON}'")
    if not _of_release(parameters):
        raise UnsupportedMediaType("send resources of FHIR R4: 'fhirVersion=4.0', or leave it out")


def require_form_body(header: str | None) -> None:
    """Raise UnsupportedMediaType unless a body is declared to be parameters of a form."""
    media_type = (header or "").partition(";")[0].strip().lower()
    if media_type != FORM:
        raise UnsupportedMediaType(f"send the parameters with 'Content-Type: {FORM}'")


def parse_prefer(headers: Iterable[str]) -> dict[str, str]:
    """Preferences by lower-case name; of one that comes twice the first counts (RFC 7240)."""
    preferences: dict[str, str] = {}
    for header in headers:
        for item in header.split(","):
            name, _, value = item.partition(";")[0].partition("=")
            if name.strip():
                preferences.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    return preferences


def _of_release(parameters: Iterable[str]) -> bool:
    """Whether these parameters of a media type allow the release that is served."""
    pairs = (parameter.partition("=") for parameter in parameters)
    versions = [
        value.strip().strip('"') for name, _, value in pairs if name.strip() == "fhirversion"
    ]
    return all(_RELEASES.fullmatch(version) for version in versions)


def _weight(parameters: list[str]) -> float:
    if not _of_release(parameters):
        return 0.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0


def _quality(ranges: list[MediaRange], media_type: str) -> float:
    """The weight of the closest range: `application/fhir+json;q=0, */*` refuses FHIR JSON."""
    closest = max(ranges, key=lambda r: (r.covers(media_type), r.weight), default=None)
    return closest.weight if closest is not None and closest.covers(media_type) else 0.0
