"""(f): kick-off and poll latency while an export runs at full speed, on disk with fsync.

One client asks at a steady pace, over one kept connection, as a poller does; each answer is
timed from the request's first byte to the answer's last. Exports follow one another without a
pause in the same server all the while.
"""

import itertools
import threading
import time
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
    over = threading.Event()
    with serving(root / "store", engine_open_jobs_max="1000") as server:
        busy = threading.Thread(target=_keep_exporting, args=(server.base, over))
        busy.start()
        with httpx.Client() as http:
            time.sleep(0.5)
            polls = _pace(
                seconds, POLLS_PER_SECOND, lambda job: http.get(job).raise_for_status(),
                setup=client.kick_off(http, server.base, SMALL),
            )  # fmt: skip
            kick_offs = _pace(
                seconds,
                KICK_OFFS_PER_SECOND,
                lambda _: client.kick_off(http, server.base, SMALL),
                setup="",
            )
        over.set()
        busy.join()
    return {"poll_ms": _summary(polls), "kick_off_ms": _summary(kick_offs)}


def _pace(seconds: float, per_second: float, ask: Any, *, setup: str) -> list[float]:
    """Ask at a steady pace; a late answer does not make the next question later than it must."""
    taken: list[float] = []
    began = time.perf_counter()
    for n in itertools.count():
        due = began + n / per_second
        if due > began + seconds:
            return taken
        time.sleep(max(0.0, due - time.perf_counter()))
        asked = time.perf_counter()
        ask(setup)
        taken.append(time.perf_counter() - asked)
    raise AssertionError("the count has no end")


def _keep_exporting(base: str, over: threading.Event) -> None:
    with httpx.Client() as http:
        while not over.is_set():
            status = client.kick_off(http, base)
            client.wait(http, status, pause=0.2)
            http.delete(status).raise_for_status()


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "n": len(seconds),
        "p50": 1000 * percentile(seconds, 0.50),
        "p99": 1000 * percentile(seconds, 0.99),
        "max": 1000 * max(seconds),
    }
