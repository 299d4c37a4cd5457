"""Transaction Bundles over HTTP: entries a second, everything in one commit a Bundle.

A Bundle is what a client sends that has a patient's record: creates under `urn:uuid` fullUrls,
which the others refer to, with the structure validated, references resolved and the index written.
"""

import itertools
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import connections
from bench.connections import message
from bench.process import serving

SECONDS = 10.0
SIZES = (100, 1_000)  # entries
CLIENTS = 2
PATIENTS = 60  # whose records the Bundles are made of
_REFERENCE = re.compile(r'"reference":"[A-Z][A-Za-z]*/([0-9a-f-]{36})"')


def measure(root: Path, data: Path, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Entries a second and latencies by size of Bundle, on the store below root, in which they
    stay; `data` is what it was filled from."""
    found: dict[str, Any] = {}
    records = _entries(data)
    with serving(root / "store", engine_upkeep_seconds="3600") as server:
        for size in SIZES:
            load = connections.run(
                server.base, _bundles(records, size), connections=CLIENTS, seconds=seconds
            )
            summary = load.summary
            found[f"of_{size}"] = {**summary, "entries_per_s": summary["per_s"] * size}
        found["server_peak_mib"] = server.peak_memory_mib
    return found


def _entries(data: Path) -> list[tuple[str, str, str]]:
    """Type, id and text of the records of some patients, patient after patient."""
    first = sorted(data.glob("*.ndjson"))[0].name.partition("-")[0]
    order: dict[str, list[tuple[str, str, str]]] = {}
    with (data / f"{first}-Patient.ndjson").open() as patients:
        for line in itertools.islice(patients, PATIENTS):
            id = json.loads(line)["id"]
            order[id] = [("Patient", id, line.rstrip("\n"))]
    owner = re.compile(r'"Patient/([0-9a-f-]{36})"')
    for path in sorted(data.glob(f"{first}-*.ndjson")):
        type = path.stem.partition("-")[2]
        if type == "Patient":
            continue
        with path.open() as lines:
            for line in lines:
                match = owner.search(line)
                if match and match[1] in order:
                    order[match[1]].append((type, json.loads(line)["id"], line.rstrip("\n")))
    return [entry for record in order.values() for entry in record]


def _bundles(records: list[tuple[str, str, str]], size: int) -> Iterator[bytes]:
    """Transactions of so many creates, made ahead, over and over: each creates anew."""
    made = [
        message("POST", "/fhir", _transaction(records[first : first + size]))
        for first in range(0, len(records) - size + 1, size)
    ]
    return itertools.cycle(made)


def _transaction(records: list[tuple[str, str, str]]) -> bytes:
    urns = {id: f"urn:uuid:{uuid.uuid4()}" for _, id, _ in records}
    return _joined(
        f'{{"fullUrl":"{urns[id]}","resource":{_linked(text, urns)},'
        f'"request":{{"method":"POST","url":"{type}"}}}}'
        for type, id, text in records
    )


def _linked(text: str, urns: dict[str, str]) -> str:
    """References within the Bundle by its URNs; others stay what they are in the store."""

    def link(match: re.Match[str]) -> str:
        return f'"reference":"{urns[match[1]]}"' if match[1] in urns else match[0]

    return _REFERENCE.sub(link, text)


def _joined(entries: Iterator[str]) -> bytes:
    bundle = '{"resourceType":"Bundle","type":"transaction","entry":[' + ",".join(entries) + "]}"
    return bundle.encode()
