"""Splits a stream of bytes into the lines of an NDJSON file.

On `\\n` bytes only: JSON strings may hold U+2028 and other characters that text
libraries take for the end of a line. Memory is bounded by the limit on a line
and one block, whatever the file holds.
"""

from collections.abc import Iterable, Iterator

import msgspec


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line that is not blank."""

    number: int  # from 1, as editors count
    text: bytes | None  # None: longer than the limit, and not kept


def split_lines(blocks: Iterable[bytes], *, bytes_max: int) -> Iterator[Line]:
    """The lines of a file that arrives in blocks; the last one may lack its newline.

    A line over `bytes_max` comes once, without its text, when its end was reached. If
    `blocks` raises, the line it broke in does not come.
    """
    number = 1
    begun: list[bytes] = []  # of a line that has not ended yet
    size = 0
    for block in blocks:
        first, *rest = block.split(b"\n")
        size += len(first)
        if size <= bytes_max + 1:  # one more, for the carriage return that may end it
            begun.append(first)
        else:
            begun = []
        if not rest:
            continue
        line = _line(number, begun, size, bytes_max)
        if line is not None:
            yield line
        *whole, last = rest
        yield from _whole_lines(whole, number + 1, bytes_max)
        number += len(rest)
        begun, size = [last], len(last)
    line = _line(number, begun, size, bytes_max)
    if line is not None:
        yield line


def _line(number: int, begun: list[bytes], size: int, bytes_max: int) -> Line | None:
    """A line that came in pieces; None if it is blank."""
    if size > bytes_max + 1:
        return Line(number, None)
    return next(_whole_lines([b"".join(begun)], number, bytes_max), None)


def _whole_lines(texts: list[bytes], number: int, bytes_max: int) -> Iterator[Line]:
    for at, text in enumerate(texts, number):
        # Returns the same object where there is nothing to take off.
        line = text.rstrip(b" \t\r")
        if line:
            yield Line(at, line if len(line) <= bytes_max else None)
