"""Export request: what a kick-off's parameters mean. No I/O.

Strict handling refuses what is not done here, and says what to do about it. Lenient
handling leaves it out and names it in an issue, one per parameter (E24). What cannot be
left out without exporting other data than was meant (a malformed time, no type left) is
refused either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.errors import BadParameter, BadRequest, NotSupported
from engine.instant import format_instant, parse_instant
from engine.model import ExportRequest, Issue

NDJSON = "application/fhir+ndjson"

# E26. The last is the first with its plus unescaped in a URL.
OUTPUT_FORMATS = frozenset({NDJSON, "application/ndjson", "ndjson", "application/fhir ndjson"})

VALUE_CHARS_MAX = 64  # of what an error message repeats
IGNORED_MAX = 100  # of these a job keeps an issue each; a request with more is refused
LENIENT_HINT = "leave it out, or send 'Prefer: handling=lenient' to have it ignored"

# Parameters of the guide that this server does not do.
GUIDE_PARAMETERS = frozenset(
    {
        "_typeFilter",
        "_elements",
        "patient",
        "includeAssociatedData",
        "organizeOutputBy",
        "allowPartialManifests",
        "_minimumFileSize",
        "_maximumFileSize",
    }
)


class SinceInFuture(BadParameter):
    """`_since` is later than the newest thing that can be known."""


def parse_export_request(
    parameters: Sequence[tuple[str, str]],
    *,
    lenient: bool,
    url: str,
    now_ms: int,
    known_types: frozenset[str],
) -> ExportRequest:
    """Check the parameters of a system-level export, in the order in which they came.

    `now_ms`: a later `_since` is in the future (D18). Raises BadRequest, BadParameter,
    NotSupported, SinceInFuture.
    """
    reading = _Reading(lenient=lenient, known_types=known_types)
    for name, value in parameters:
        reading.take(name, value)
    return reading.finish(url, now_ms)


@dataclass
class _Reading:
    """What is known of the request so far."""

    lenient: bool
    known_types: frozenset[str]
    single: dict[str, str] = field(default_factory=dict)
    types: list[str] = field(default_factory=list)
    ignored: dict[str, NotSupported | BadParameter] = field(default_factory=dict)

    def take(self, name: str, value: str) -> None:
        if name == "_type":
            self._take_types(value)
        elif name in ("_since", "_until", "_outputFormat"):
            if name in self.single:
                raise BadRequest(f"{name} is given more than once: send one", expression=name)
            self.single[name] = value
        else:
            self._leave_out(name, _unsupported(name))

    def finish(self, url: str, now_ms: int) -> ExportRequest:
        since, until = self._instant("_since"), self._instant("_until")
        if since is not None and since > now_ms:
            raise SinceInFuture(
                f"_since is in the future: send the transactionTime of an earlier export, "
                f"or a time before {format_instant(now_ms)}",
                expression="_since",
            )
        if since is not None and until is not None and since > until:
            raise BadParameter("_since is after _until: nothing can match", expression="_since")
        if "_outputFormat" in self.single:
            _check_output_format(self.single["_outputFormat"])
        return ExportRequest(
            types=tuple(sorted(set(self.types))),
            since_ms=since,
            until_ms=until,
            output_format=NDJSON,
            url=url,
            issues=self._issues(),
        )

    def _take_types(self, value: str) -> None:
        # One value may hold a list (2.0, 3.0); repeated ones add up (E13, E14, E31).
        for name in (item.strip() for item in value.split(",")):
            if name in self.known_types:
                self.types.append(name)
                continue
            error = BadParameter(
                f"_type names '{_shown(name)}', which is not a resource type of FHIR R4: "
                f"correct it, or {LENIENT_HINT}",
                expression="_type",
            )
            self._leave_out(f"_type={name}", error)

    def _leave_out(self, what: str, error: NotSupported | BadParameter) -> None:
        if not self.lenient or len(self.ignored) >= IGNORED_MAX:
            raise error
        self.ignored.setdefault(what, error)

    def _instant(self, name: str) -> int | None:
        return parse_instant(self.single[name], name=name) if name in self.single else None

    def _issues(self) -> tuple[Issue, ...]:
        # With every named type left out, "no type" would mean all of them.
        if not self.types and (unknown := self._ignored_types()):
            raise BadParameter(
                f"_type names no resource type of FHIR R4 ({unknown})", expression="_type"
            )
        return tuple(
            Issue(
                severity="warning",
                code=error.code,
                diagnostics=f"ignored, as handling=lenient allows: {_shown(what)} "
                "is not supported by this server",
                expression=error.expression,
            )
            for what, error in self.ignored.items()
        )

    def _ignored_types(self) -> str:
        names = [what.partition("=")[2] for what in self.ignored if what.startswith("_type=")]
        return _shown(", ".join(repr(_shown(name)) for name in names)) if names else ""


def _unsupported(name: str) -> NotSupported:
    known = "" if name in GUIDE_PARAMETERS else " and not one of the Bulk Data guide"
    return NotSupported(
        f"parameter '{_shown(name)}' is not supported by this server{known}: {LENIENT_HINT}",
        expression=_shown(name),
    )


def _check_output_format(value: str) -> None:
    if value not in OUTPUT_FORMATS:
        raise BadParameter(
            f"_outputFormat '{_shown(value)}' is not supported: send {NDJSON}",
            expression="_outputFormat",
        )


def _shown(text: str) -> str:
    """A client's text, fit for a message: short, and without control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= VALUE_CHARS_MAX else clean[: VALUE_CHARS_MAX - 3] + "..."
