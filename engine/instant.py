"""FHIR instants and dateTimes as milliseconds since 1970 UTC, and back.

One precision everywhere: milliseconds (DESIGN 6). Finer instants are truncated
down (bulk-data.md D21). Source: FHIR R4 datatypes, `instant`.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

from engine.errors import BadParameter

# A space stands where a client forgot to escape the plus of its zone (D21).
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+\- ]\d\d:\d\d)"
)


def format_instant(ms: int) -> str:
    """Milliseconds since 1970 as `2026-11-21T01:40:00.123Z`."""
    seconds, millis = divmod(ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def parse_instant(text: str, *, name: str) -> int:
    """An instant as milliseconds since 1970, truncated down. Raises BadParameter naming `name`."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise BadParameter(
            f"{name} must be an instant with seconds and a zone, such as 2026-01-31T08:30:00Z",
            expression=name,
        )
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        offset = _offset(zone)
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=offset
        )
        seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1))
    except (ValueError, OverflowError):
        raise BadParameter(f"{name} is not a date that exists", expression=name) from None
    return seconds * 1000 + int((fraction or "0")[:3].ljust(3, "0"))


def _offset(zone: str) -> timezone:
    if zone == "Z":
        return UTC
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError(zone)
    sign = -1 if zone[0] == "-" else 1
    return timezone(sign * timedelta(hours=hours, minutes=minutes))
