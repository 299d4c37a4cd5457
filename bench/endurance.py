"""Memory, open files and the WAL over time, and how soon a killed server goes on."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from bench import client
from bench.data import COPIES_MAX, multiply
from bench.measure import spread
from bench.process import (
    PENSTOCK,
    Server,
    command,
    environment,
    job_facts,
    serving,
    start,
    tenant_file,
)

EXPORTS = 200
LARGE_BODIES = (5_000_000, 16_000_000)


def many_exports(root: Path, sample: Path, *, exports: int = EXPORTS) -> dict[str, Any]:
    """Consecutive exports of a small store: what the first twenty leave, the rest must not grow."""
    command(root / "store", "load", "--json", str(sample))
    with serving(root / "store") as server, httpx.Client() as http:
        marks: list[tuple[float, int]] = []
        for _ in range(exports):
            status = client.kick_off(http, server.base)
            client.wait(http, status, pause=0.02)
            http.delete(status).raise_for_status()
            marks.append((server.memory_mib, server.open_files))
    return {
        "exports": exports,
        "memory_mib": {"after_20": marks[19][0], "at_the_end": marks[-1][0]},
        "open_files": {"after_20": marks[19][1], "at_the_end": marks[-1][1]},
    }


def add_large_bodies(server: Server, http: httpx.Client) -> None:
    """Some resources of 5 MB and 16 MB among the rows."""
    for n, size in enumerate(LARGE_BODIES * 3):
        text = "x" * (size - 1000)
        body = {"resourceType": "Binary", "id": f"large-{n}", "contentType": "text/plain"}
        answer = http.put(
            f"{server.base}/fhir/Binary/large-{n}",
            json={**body, "data": text},
            headers={"Content-Type": "application/fhir+json"},
            timeout=60,
        )
        answer.raise_for_status()


def load_beside_export(root: Path, sample: Path, *, bytes_min: int) -> dict[str, Any]:
    """A load of new resources and one export after the other, on the same store at once; the
    WAL's largest size and the memory of the server, whose exports hold large bodies too."""
    data = root / "more"
    rows, size = multiply(sample, data, resources_min=0, bytes_min=bytes_min, first=COPIES_MAX // 2)
    with serving(root / "store") as server, httpx.Client() as http:
        add_large_bodies(server, http)
        server.reset_peak()
        loading = subprocess.Popen(
            [*PENSTOCK, "load", "--json", str(data)],
            env=environment(root / "store"),
            stdout=subprocess.DEVNULL,
        )
        wal = Path(f"{tenant_file(root / 'store')}-wal")
        exports, most = 0, 0
        status = client.kick_off(http, server.base)
        while loading.poll() is None:
            if http.get(status).status_code == 200:
                exports += 1
                http.delete(status)
                status = client.kick_off(http, server.base)
            most = max(most, wal.stat().st_size if wal.exists() else 0)
            time.sleep(0.1)
        client.wait(http, status)
        peak = server.peak_memory_mib
    shutil.rmtree(data)
    assert loading.returncode == 0, "the load failed"
    return {
        "loaded": {"resources": rows, "bytes": size},
        "exports": exports,
        "wal_most_mib": most / 2**20,
        "server_peak_mib": peak,
    }


def restart(root: Path, *, rounds: int = 5) -> dict[str, Any]:
    """SIGKILL in the middle of an export; seconds from the start of the new process, and from
    its being ready, to the job's next claim."""
    from_start: list[float] = []
    from_ready: list[float] = []
    for _ in range(rounds):
        server = start(root / "store")
        with httpx.Client() as http:
            job = client.job_of(client.kick_off(http, server.base))
        _wait_for_parts(root / "store", job)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        began = time.time()
        with serving(root / "store") as server, httpx.Client() as http:
            ready = time.time()
            claimed = _wait_for_claim(root / "store", job)
            client.wait(http, f"{server.base}/fhir/$export-status/{job}")
        from_start.append(claimed - began)
        from_ready.append(max(0.0, claimed - ready))
    return {"from_start_s": spread(from_start), "from_ready_s": spread(from_ready)}


def _wait_for_parts(store: Path, job: str) -> None:
    """Until something was recorded, so that there is something to go on with."""
    while job_facts(store, job)["parts"] == 0:
        time.sleep(0.005)


def _wait_for_claim(store: Path, job: str) -> float:
    """The time at which the job was found claimed for the second time."""
    while job_facts(store, job)["token"] < 2:
        time.sleep(0.005)
    return time.time()
