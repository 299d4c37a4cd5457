"""Choose a coherent part of a folder of Synthea NDJSON: some patients and all that is theirs.

    python tests/data/subset.py SOURCE TARGET [EVERY]

Takes every EVERY-th patient (7), every resource that refers to one of them, and
what those refer to that belongs to no patient (organizations, practitioners).
The result is the same byte for byte whenever it is run.
"""

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

REFERENCE = re.compile(rb'"reference":"([^"#]+)"')
IDENTITY = re.compile(rb'^{"resourceType":"([A-Za-z]+)","id":"([^"]+)"')


def name_of(line: bytes) -> bytes:
    """`Type/id` of a resource that begins with both."""
    match = IDENTITY.match(line)
    assert match is not None, "a line that does not begin with resourceType and id"
    return b"/".join(match.groups())


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of one file."""
    with gzip.open(path) as file:
        yield from file


def choose(source: Path, every: int) -> dict[str, list[bytes]]:
    """The chosen lines, by file name."""
    patients = {name_of(line) for line in list(lines_of(source / "Patient.ndjson.gz"))[::every]}
    chosen: dict[str, list[bytes]] = {}
    needed: set[bytes] = set()
    shared: dict[str, list[bytes]] = {}
    for path in sorted(source.glob("*.ndjson.gz")):
        for line in lines_of(path):
            references = set(REFERENCE.findall(line))
            owner = [name for name in references if name.startswith(b"Patient/")]
            if name_of(line) in patients or any(name in patients for name in owner):
                chosen.setdefault(path.name, []).append(line)
                needed |= references
            elif not owner and not name_of(line).startswith(b"Patient/"):
                shared.setdefault(path.name, []).append(line)
    for name, lines in shared.items():
        chosen[name] = [line for line in lines if name_of(line) in needed]
    return chosen


def main() -> None:
    """Write the part, one file per type."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    every = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    target.mkdir(parents=True, exist_ok=True)
    for name, lines in sorted(choose(source, every).items()):
        packed = gzip.compress(b"".join(lines), compresslevel=9, mtime=0)
        (target / name).write_bytes(packed)
        print(f"{len(lines):>7} {len(packed):>9} {name}")


if __name__ == "__main__":
    main()
