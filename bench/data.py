"""Makes a large, coherent data set: the sample data many times over, each time with new ids.

Every UUID of a copy has its first two hex digits changed by the number of the copy, in ids and
references alike, so each copy is a closed set and no two copies share an id.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

COPIES_MAX = 255  # one byte of the UUID tells them apart
_UUID = re.compile(
    rb"\b[0-9a-f]{2}(?=[0-9a-f]{6}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)
BLOCK_LINES = 4096


def source_files(source: Path) -> list[Path]:
    """The NDJSON files of a folder, compressed or not, by name."""
    files = sorted([*source.glob("*.ndjson.gz"), *source.glob("*.ndjson")])
    if not files:
        raise SystemExit(f"no NDJSON files in {source}")
    return files


def multiply(
    source: Path, target: Path, *, resources_min: int, bytes_min: int, first: int = 0
) -> tuple[int, int]:
    """Write copies of the source into target until both bounds are reached, the first of them
    with this number (0: ids as they are).

    Returns resources and bytes written.
    """
    target.mkdir(parents=True, exist_ok=True)
    rows = size = 0
    for copy in range(first, COPIES_MAX + 1):
        if rows >= resources_min and size >= bytes_min:
            return rows, size
        for path in source_files(source):
            name = path.name.removesuffix(".gz").removesuffix(".ndjson")
            with (target / f"{copy:03d}-{name}.ndjson").open("wb") as out:
                for block, lines in _blocks(path):
                    rows += lines
                    size += out.write(_with_new_ids(block, copy))
    raise SystemExit("the source is too small: it would need more than 255 copies")


def _with_new_ids(block: bytes, copy: int) -> bytes:
    if copy == 0:
        return block
    changed = {b"%02x" % n: b"%02x" % (n ^ copy) for n in range(256)}
    return _UUID.sub(lambda match: changed[match.group()], block)


def _blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as lines:
        block: list[bytes] = []
        for line in lines:
            block.append(line)
            if len(block) == BLOCK_LINES:
                yield b"".join(block), len(block)
                block.clear()
        yield b"".join(block), len(block)
