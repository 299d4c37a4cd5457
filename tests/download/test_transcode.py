"""Files on their way out in the other coding: whole, bounded, and honest when damaged."""

import gzip
import zlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.door import InlineDoor
from engine.errors import OutputUnavailable
from tests.support.parts import NDJSON
from web.fhir.transcode import PIECE_BYTES, deflated, inflated

LONG = NDJSON * 50  # some MB, and very compressible


class Blocks:
    """A PartReader over bytes, cut into blocks."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)

    async def read(self) -> bytes:
        return next(self._blocks, b"")


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[n : n + size] for n in range(0, len(data), size)]


async def inflate(blocks: Sequence[bytes], size: int) -> list[bytes]:
    return [piece async for piece in inflated(Blocks(blocks), InlineDoor(), size)]


async def deflate(blocks: Sequence[bytes]) -> bytes:
    return b"".join([piece async for piece in deflated(Blocks(blocks), InlineDoor())])


@pytest.mark.parametrize("size", [7, 1000, 256 * 1024, 1 << 20])
async def test_compressed_files_come_out_whole_in_bounded_pieces(size: int) -> None:
    data = NDJSON if size < 1000 else LONG
    pieces = await inflate(cut(gzip.compress(data), size), len(data))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("size", [1000, 256 * 1024, 700_000, 1 << 20])
async def test_compressing_gives_the_same_bytes_whatever_the_blocks(size: int) -> None:
    coded = await deflate(cut(LONG, size))
    assert gzip.decompress(coded) == LONG
    assert coded == await deflate([LONG])


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=20))
async def test_what_was_compressed_comes_out_again(blocks: list[bytes]) -> None:
    coded = await deflate(blocks)
    whole = b"".join(blocks)
    assert b"".join(await inflate([coded], len(whole))) == whole


_CODED = gzip.compress(NDJSON)


@pytest.mark.parametrize(
    ("coded", "size"),
    [
        (_CODED[:-1], len(NDJSON)),
        (_CODED[:100], len(NDJSON)),
        (b"", 0),
        (b"not gzip at all", 15),
        (_CODED[:500] + b"\0" * 20 + _CODED[520:], len(NDJSON)),
        (_CODED[:-8] + zlib.crc32(b"x").to_bytes(4, "little") + _CODED[-4:], len(NDJSON)),
        (_CODED + b"more", len(NDJSON)),
        (_CODED, len(NDJSON) - 1),
        (_CODED, len(NDJSON) + 1),
    ],
)
async def test_a_damaged_file_is_an_error_and_no_end(coded: bytes, size: int) -> None:
    with pytest.raises(OutputUnavailable) as raised:
        await inflate(cut(coded, 1000), size)
    assert "Patient" not in str(raised.value)
