"""(c): how many resources a second `penstock load` takes in, durably, validated and indexed.

    python -m bench.load FOLDER [--workers N]

By itself: loads a folder of NDJSON into a new store beside it, and prints the figures as JSON.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench.measure import settle_disk, spread, timed
from bench.process import command

ROUNDS = 2


def measure(
    root: Path, data: Path, *, rounds: int = ROUNDS, workers: int | None = None
) -> dict[str, Any]:
    """Load the whole data set into a new store, several times; the last store stays.

    The time is that of the whole command: start of Python and its workers, parsing, validation,
    index, and every fsync.
    """
    words = () if workers is None else ("--workers", str(workers))
    rates: list[float] = []
    summary: dict[str, Any] = {}
    for _ in range(rounds):
        shutil.rmtree(root / "store", ignore_errors=True)
        settle_disk()
        with timed() as watch:
            summary = json.loads(command(root / "store", "load", "--json", *words, str(data)))
        rates.append(summary["created"] / watch.seconds)
    with timed() as again:
        repeated = json.loads(command(root / "store", "load", "--json", str(data)))
    assert repeated["created"] == repeated["updated"] == 0, "a repeated load made new versions"
    return {
        "resources": summary["created"],
        "database_per_body_bytes": _size_bytes(root / "store" / "tenants") / _size_bytes(data),
        "resources_per_s": spread(rates),
        "repeated_resources_per_s": repeated["unchanged"] / again.seconds,
    }


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("data", type=Path)
    words.add_argument("--workers", type=int)
    words.add_argument("--rounds", type=int, default=1)
    options = words.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data.parent, prefix="penstock-bench-") as root:
        found = measure(Path(root), options.data, rounds=options.rounds, workers=options.workers)
    print(json.dumps(found | {"load_average": os.getloadavg()}, indent=2))


if __name__ == "__main__":
    main()
