"""Where a time lies among the versions of a type: their rids are in the order of lastUpdated."""

from typing import Any, Final

import apsw

_SEEK: Final = "SELECT rid, upd_ms FROM version WHERE rid BETWEEN ? AND ? ORDER BY rid LIMIT 1"


def last_before(connection: apsw.Connection, low: int, high: int, ms: int) -> int:
    """A rid between these, of one type, that divides its versions: those written before `ms`
    are not above it, the others are. Reads no body."""
    while low < high:
        middle = (low + high) // 2 + 1
        found: Any = connection.execute(_SEEK, (middle, high)).fetchall()
        if found and found[0][1] < ms:
            low = found[0][0]
        else:
            high = middle - 1
    return low
