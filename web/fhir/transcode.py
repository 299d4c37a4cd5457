"""Transcoding: a file on its way out in the coding it is not stored in.

A stream in pieces of bounded size, made in threads of its own: neither the loop nor a
database call waits for it.
"""

from collections.abc import AsyncGenerator
from typing import cast

from isal import isal_zlib

from backends.door import Door
from engine.errors import OutputUnavailable
from engine.ports import PartReader

PIECE_BYTES = 256 * 1024  # of inflated output: what a slow client holds in memory
SLICE_BYTES = 256 * 1024  # goes into the compressor at a time: equal slices, equal bytes
GZIP_LEVEL = 1
_GZIP_WINDOW = 31  # 15 bits, with a gzip header
_DAMAGED = cast("type[Exception]", isal_zlib.error)  # which the library declares wrongly


async def inflated(reader: PartReader, door: Door, size: int) -> AsyncGenerator[bytes, None]:
    """The plain bytes of a gzip file, `size` in all. Raises OutputUnavailable if it is damaged,
    truncated or of another size."""
    inflater = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
    given = 0
    while block := await reader.read():
        while piece := await door.call(_inflate, inflater, block):
            given += len(piece)
            yield piece
            block = inflater.unconsumed_tail
    if not inflater.eof or inflater.unused_data or given != size:
        raise OutputUnavailable("a compressed output file is not what was recorded")


async def deflated(reader: PartReader, door: Door) -> AsyncGenerator[bytes, None]:
    """The gzip form of a plain file: the same bytes every time, whatever blocks it is read in,
    because the ETag that is sent along promises it."""
    deflater = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    waiting = bytearray()
    while block := await reader.read():
        waiting += block
        if coded := await door.call(_deflate_slices, deflater, waiting):
            yield coded
    yield await door.call(_deflate_rest, deflater, waiting)


def _inflate(inflater: isal_zlib.Decompress, block: bytes) -> bytes:
    try:
        return inflater.decompress(block, PIECE_BYTES)
    except _DAMAGED:
        # Without its cause: its text is about content.
        raise OutputUnavailable("a compressed output file is damaged") from None


def _deflate_slices(deflater: isal_zlib.Compress, waiting: bytearray) -> bytes:
    """Compress the whole slices, and leave the rest waiting."""
    whole = len(waiting) // SLICE_BYTES * SLICE_BYTES
    with memoryview(waiting) as view:
        coded = [
            deflater.compress(view[start : start + SLICE_BYTES])
            for start in range(0, whole, SLICE_BYTES)
        ]
    del waiting[:whole]
    return b"".join(coded)


def _deflate_rest(deflater: isal_zlib.Compress, waiting: bytearray) -> bytes:
    return deflater.compress(bytes(waiting)) + deflater.flush()
