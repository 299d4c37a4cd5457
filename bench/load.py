"""(c): how many resources a second `penstock load` takes in, durably."""

import json
import shutil
from pathlib import Path
from typing import Any

from bench.measure import settle_disk, spread, timed
from bench.process import command

ROUNDS = 2


def measure(root: Path, data: Path, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Load the whole data set into a new store, several times; the last store stays.

    The time is that of the whole command: start of Python, parsing, and every fsync.
    """
    rates: list[float] = []
    summary: dict[str, Any] = {}
    for _ in range(rounds):
        shutil.rmtree(root / "store", ignore_errors=True)
        settle_disk()
        with timed() as watch:
            summary = json.loads(command(root / "store", "load", "--json", str(data)))
        rates.append(summary["created"] / watch.seconds)
    with timed() as again:
        repeated = json.loads(command(root / "store", "load", "--json", str(data)))
    assert repeated["created"] == repeated["updated"] == 0, "a repeated load made new versions"
    return {
        "resources": summary["created"],
        "resources_per_s": spread(rates),
        "repeated_resources_per_s": repeated["unchanged"] / again.seconds,
    }
