"""The REST API over HTTP: one server process, its clients in another on the same two cores.

The generator's own share (bench/connections.py) is in every figure. Reads are of resources from
all over the store, creates are of resources of the data set under new ids, each durable and
indexed when it is answered, pages are of 20 matches with their bodies.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import connections
from bench.connections import message
from bench.process import serving
from bench.search import Sample, page_queries, read_sample, spread_lines

SECONDS = 10.0
CONNECTIONS = 16  # several writes at once share a commit
CREATED_TYPES = ("Observation", "Condition", "Encounter", "Procedure", "Claim")
_ID = re.compile(rb'"id":"[^"]*",')


def measure(root: Path, data: Path, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Requests a second and latencies, on the store below root; `data` is what was loaded there.
    The store holds what was created afterwards."""
    sample = read_sample(data)
    kinds = {
        "read": _reads(sample),
        "search_page": _pages(sample, "code"),
        "search_page_of_patient": _pages(sample, "subject_and_code"),
        "create": _creates(data),
    }
    found: dict[str, Any] = {}
    with serving(root / "store", engine_upkeep_seconds="3600") as server:
        for name, messages in kinds.items():
            found[name] = connections.run(
                server.base, messages, connections=CONNECTIONS, seconds=seconds
            ).summary
            found[f"{name}_alone"] = connections.run(
                server.base, messages, connections=1, seconds=seconds / 2
            ).summary
        found["server_peak_mib"] = server.peak_memory_mib
    return found


def _reads(sample: Sample) -> Iterator[bytes]:
    chance = random.Random(5)
    while True:
        type, id = chance.choice(sample.reads)
        yield message("GET", f"/fhir/{type}/{id}")


def _pages(sample: Sample, kind: str) -> Iterator[bytes]:
    chance, draw = random.Random(6), page_queries(sample)[kind]
    while True:
        yield message("GET", f"/fhir/{draw(chance)}")


def _creates(data: Path) -> Iterator[bytes]:
    """Resources of the data set without their ids, over and over."""
    lines = [
        (type, _ID.sub(b"", line.rstrip(b"\n"), count=1))
        for type in CREATED_TYPES
        for line in spread_lines(sorted(data.glob(f"*-{type}.ndjson")), 200)
    ]
    random.Random(7).shuffle(lines)
    while True:
        for type, body in lines:
            yield message("POST", f"/fhir/{type}", body)
