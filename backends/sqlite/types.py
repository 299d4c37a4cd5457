"""Numbers of resource types: the upper half of every rid."""

from typing import Final

import apsw

SEQ_BITS = 40  # of a rid; 10^12 versions per store
REPLACED = 1 << 61  # plus the seq of its successor: `sup` of a version that is not current (2^62)

DELETED: Final = 1  # bit of `flags`


def find_type(connection: apsw.Connection, name: str) -> int | None:
    """The number of a type, None if the store never held one."""
    row = connection.execute("SELECT type_id FROM resource_type WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def ensure_type(connection: apsw.Connection, name: str) -> int:
    """The number of a type, given now if it is new. Inside a write transaction."""
    found = find_type(connection, name)
    if found is not None:
        return found
    connection.execute("INSERT INTO resource_type (name) VALUES (?)", (name,))
    return connection.last_insert_rowid()
