"""(f): kick-off and poll latency while an export runs at full speed, on disk with fsync.

One client asks at a steady pace, over one kept connection, as a poller does; each answer is
timed from the request's first byte to the answer's last. Exports follow one another without a
pause in the same server all the while.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench import client
from bench.measure import percentile
from bench.process import serving

POLLS_PER_SECOND = 20
KICK_OFFS_PER_SECOND = 4
# Small enough to be over at once, so that the kick-offs do not pile up as work of their own.
SMALL = "?_type=Organization"


def measure(root: Path, *, seconds: float = 30.0) -> dict[str, Any]:
    """Latencies in milliseconds, p50 and p99, of polls and of kick-offs."""
    with serving(root / "store", engine_open_jobs_max="1000") as server, httpx.Client() as http:
        with _exporting(server.base):
            small = client.kick_off(http, server.base, SMALL)
            polls = _pace(seconds, POLLS_PER_SECOND, lambda: http.get(small).raise_for_status())
        with _exporting(server.base):
            kick_offs = _pace(
                2 * seconds, KICK_OFFS_PER_SECOND, lambda: client.kick_off(http, server.base, SMALL)
            )
    return {"poll_ms": _summary(polls), "kick_off_ms": _summary(kick_offs)}


def _pace(seconds: float, per_second: float, ask: Callable[[], object]) -> list[float]:
    """Ask at a steady pace; a late answer does not make the next question later than it must."""
    taken: list[float] = []
    began = time.perf_counter()
    for n in itertools.count():
        due = began + n / per_second
        if due > began + seconds:
            return taken
        time.sleep(max(0.0, due - time.perf_counter()))
        asked = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - asked)
    raise AssertionError("the count has no end")


@contextmanager
def _exporting(base: str) -> Iterator[None]:
    """Whole exports, one after the other, during the block; their files go after it."""
    over = threading.Event()
    done: list[str] = []
    busy = threading.Thread(target=_keep_exporting, args=(base, over, done))
    busy.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        over.set()
        busy.join()
        with httpx.Client() as http:
            for status in done:
                http.delete(status).raise_for_status()
        time.sleep(2.0)


def _keep_exporting(base: str, over: threading.Event, done: list[str]) -> None:
    with httpx.Client() as http:
        while not over.is_set():
            done.append(client.kick_off(http, base))
            client.wait(http, done[-1], pause=0.2)


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "n": len(seconds),
        "p50": 1000 * percentile(seconds, 0.50),
        "p99": 1000 * percentile(seconds, 0.99),
        "max": 1000 * max(seconds),
    }
