"""Memory, open files and the WAL over time, and how soon a killed server goes on."""

import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from bench import client
from bench.export import tenant_file
from bench.process import PENSTOCK, Server, environment, serving, show_job, start

EXPORTS = 200
LARGE_BODIES = (5_000_000, 16_000_000)


def many_exports(root: Path, *, exports: int = EXPORTS) -> dict[str, Any]:
    """Consecutive exports of a small store: what the first ten leave, the rest must not grow."""
    with serving(root / "store") as server, httpx.Client() as http:
        marks: list[tuple[float, int]] = []
        for _ in range(exports):
            status = client.kick_off(http, server.base)
            client.wait(http, status, pause=0.02)
            http.delete(status).raise_for_status()
            marks.append((server.memory_mib, server.open_files))
    return {
        "exports": exports,
        "memory_mib": {"after_10": marks[9][0], "at_the_end": marks[-1][0]},
        "open_files": {"after_10": marks[9][1], "at_the_end": marks[-1][1]},
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


def load_beside_export(root: Path, data: Path) -> dict[str, Any]:
    """Exports and a load run together over the whole data set; the WAL's largest size."""
    with serving(root / "store") as server, httpx.Client() as http:
        add_large_bodies(server, http)
        wal = Path(f"{tenant_file(root / 'store')}-wal")
        server.reset_peak()
        most = 0
        loading = subprocess.Popen(
            # What is there already makes no versions; a second tenant's store takes it all in,
            # and the same tenant's with other ids does so too.
            [*PENSTOCK, "load", "--json", str(data)],
            env=environment(root / "store"),
            stdout=subprocess.DEVNULL,
        )
        exports = 0
        status = client.kick_off(http, server.base)
        while loading.poll() is None:
            if http.get(status).status_code == 200:
                exports += 1
                http.delete(status)
                status = client.kick_off(http, server.base)
            most = max(most, wal.stat().st_size if wal.exists() else 0)
            time.sleep(0.05)
        client.wait(http, status)
        peak = server.peak_memory_mib
    assert loading.returncode == 0
    return {"exports": exports, "wal_most_mib": most / 2**20, "server_peak_mib": peak}


def restart(root: Path, *, rounds: int = 5) -> dict[str, Any]:
    """SIGKILL in the middle of an export; seconds from the new process to the job going on."""
    seconds: list[float] = []
    for _ in range(rounds):
        server = start(root / "store")
        with httpx.Client() as http:
            status = client.kick_off(http, server.base)
            time.sleep(0.3)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        job = client.job_of(status)
        assert show_job(root / "store", job)["status"] == "in-progress"
        seconds.append(_seconds_to_claim(root, job))
    return {"claimed_again_after_s": {"median": sorted(seconds)[rounds // 2], "max": max(seconds)}}


def _seconds_to_claim(root: Path, job: str) -> float:
    began = time.perf_counter()
    found = threading.Event()
    with serving(root / "store") as server, httpx.Client() as http:
        while True:
            answer = http.get(f"{server.base}/fhir/$export-status/{job}")
            shown = show_job(root / "store", job)
            if shown["attempt"] > 1 or shown["status"] == "complete":
                taken = time.perf_counter() - began
                client.wait(http, str(answer.url))
                found.set()
                return taken
