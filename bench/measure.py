"""Timing, medians and facts of the machine."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Stopwatch:
    seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Wall time of a block."""
    watch = Stopwatch()
    began = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - began


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def in_turn(rounds: int, **runs: Callable[[], float]) -> dict[str, list[float]]:
    """Run each in turn, round after round, so that a drift of the machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(run())
    return seconds


def ratios(over: list[float], under: list[float]) -> dict[str, float]:
    """over/under, pair by pair."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def settle_disk() -> None:
    """Write out what earlier steps left dirty, so that no one else pays for it."""
    os.sync()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import apsw

    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite_of_penstock": apsw.sqlite_lib_version(),
        "sqlite3_program": _output("sqlite3", "--version").split(" ")[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def _output(*words: str) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return "absent"
