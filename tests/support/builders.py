"""Resources for tests, as lines and as the store takes them."""

from collections.abc import Iterable

from engine.instant import format_instant
from engine.model import Prepared

# Bytes that a careless reader or writer would change: escapes that have a shorter form,
# numbers that a float cannot hold, members out of order, text beyond ASCII.
ODD_MEMBERS = (
    rb'"z":"\u0041\/\ud83d\ude00\n","a":1.00,"big":12345678901234567890.000000000000000010,'
    rb'"e":1E+2,"o":{"b":1,"a":[]},"t":"' + "ß€😀\u2028".encode() + b'"'
)


def prepared(type: str = "Patient", id: str = "p1", members: bytes = b"") -> Prepared:
    """A resource ready to be stored. `members` follow its meta: `b'"active":true'`."""
    head = b'{"resourceType":"%b","id":"%b","meta":{"versionId":"' % (type.encode(), id.encode())
    return Prepared(type, id, head, b'"}' + (b"," + members if members else b"") + b"}")


def numbered(type: str, count: int, *, first: int = 0, padding: int = 0) -> list[Prepared]:
    """Resources of one type with the ids 0, 1 and so on, each with `padding` bytes of text."""
    text = b'"text":"' + b"x" * padding + b'"'
    return [prepared(type, str(number), text) for number in range(first, first + count)]


def body(resource: Prepared, version: int, updated_ms: int) -> bytes:
    """What the store must hold for this version."""
    return resource.body(version, format_instant(updated_ms))


def line(type: str = "Patient", id: str = "p1", members: bytes = b"") -> bytes:
    """A resource as a client sends it, without newline and without meta."""
    tail = b"," + members if members else b""
    return b'{"resourceType":"%b","id":"%b"%b}' % (type.encode(), id.encode(), tail)


def ndjson(lines: Iterable[bytes]) -> bytes:
    """Lines as a file."""
    return b"".join(line + b"\n" for line in lines)
