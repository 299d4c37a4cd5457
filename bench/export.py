"""(a) (b) (d) (g): how fast an export is, beside three other ways to move the same bytes.

The server under measurement is the real one, in a process of its own, kicked off over HTTP.
Its time is the one that the job store recorded, from the accepted job to the finished one:
plan, queries, SHA-256, fsync, renames and every commit are in it.
"""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import httpx

from bench import client
from bench.bare import export_bare
from bench.measure import in_turn, ratios, settle_disk, spread, timed
from bench.process import Server, job_facts, serving, tenant_file

ROUNDS = 5


def measure(root: Path, *, rounds: int = ROUNDS, on_disk: bool) -> dict[str, Any]:
    """All ratios on the store below root: where that lies decides memory or disk."""
    with serving(root / "store", engine_upkeep_seconds="3600") as server, httpx.Client() as http:
        warm = Exports(server, http, root)
        warm.run()
        server.reset_peak()
        runs = {
            "penstock": warm.run,
            "sqlite3": lambda: sqlite3_program(root),
            "sqlite3 with SHA-256": lambda: sqlite3_program_hashed(root),
            "copy": lambda: plain_copy(warm.files, root / "copy"),
            "bare": lambda: export_bare(root / "store", root / "bare"),
        }
        seconds = in_turn(rounds, **runs)
        peak = server.peak_memory_mib
    with serving(root / "store", output_coding="gzip") as server, httpx.Client() as http:
        gzip = Exports(server, http, root)
        seconds["penstock gzip"] = in_turn(rounds, gzip=gzip.run)["gzip"]
    megabytes = warm.bytes / 1e6
    return {
        "where": "disk, with fsync" if on_disk else "memory (tmpfs)",
        "resources": warm.resources,
        "bytes": warm.bytes,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "penstock_mb_per_s": megabytes / spread(seconds["penstock"])["median"],
        "penstock_resources_per_s": warm.resources / spread(seconds["penstock"])["median"],
        "sqlite3_over_penstock": ratios(seconds["sqlite3"], seconds["penstock"]),
        "sqlite3_hashed_over_penstock": ratios(
            seconds["sqlite3 with SHA-256"], seconds["penstock"]
        ),
        "copy_over_penstock": ratios(seconds["copy"], seconds["penstock"]),
        "penstock_over_bare": ratios(seconds["penstock"], seconds["bare"]),
        "gzip_over_plain": ratios(seconds["penstock gzip"], seconds["penstock"]),
        "server_peak_mib": peak,
    }


class Exports:
    """Exports of one running server, one after the other; remembers the last one's files."""

    def __init__(self, server: Server, http: httpx.Client, root: Path) -> None:
        self._server = server
        self._http = http
        self._root = root
        self.files: list[Path] = []
        self.bytes = 0
        self.resources = 0

    def run(self) -> float:
        """One export, in seconds by the job store's clock. The files of the one before go."""
        settle_disk()
        for old in self.files:
            old.unlink()
        status = client.kick_off(self._http, self._server.base)
        # Few polls: on two cores they would be a part of what is measured.
        manifest = client.wait(self._http, status, pause=0.5)
        folder = self._root / "store" / "output"
        self.files = sorted(folder.glob(f"*/{client.job_of(status)}/*/*"))
        self.bytes = sum(entry["fileSize"] for entry in manifest["output"])
        self.resources = sum(entry["count"] for entry in manifest["output"])
        facts = job_facts(self._root / "store", client.job_of(status))
        return (facts["finished_ms"] - facts["created_ms"]) / 1000


def sqlite3_program(root: Path) -> float:
    """The same rows by the sqlite3 program into a file, on a copy of the store's file."""
    words = _sqlite3_words(root)
    target = root / "sqlite3.ndjson"
    target.unlink(missing_ok=True)
    settle_disk()
    with timed() as watch, target.open("wb") as out:
        subprocess.run(words, stdout=out, check=True)
    return watch.seconds


def _sqlite3_words(root: Path) -> list[str]:
    copy = root / "copy.db"
    if not copy.exists():
        # The server has the file open, and its WAL may hold the newest rows.
        with sqlite3.connect(tenant_file(root / "store")) as source, sqlite3.connect(copy) as to:
            source.backup(to)
    with sqlite3.connect(copy) as db:
        (seq,) = db.execute("SELECT seq FROM meta").fetchone()
    query = (
        "SELECT body FROM version WHERE rid BETWEEN 1 AND 9223372036854775807 "
        f"AND sup > {(1 << 61) + seq} AND NOT flags & 1"
    )
    return ["sqlite3", "-readonly", str(copy), query]


def sqlite3_program_hashed(root: Path) -> float:
    """As sqlite3_program, with the SHA-256 that an export's file has too."""
    target = root / "sqlite3.ndjson"
    target.unlink(missing_ok=True)
    settle_disk()
    with timed() as watch, target.open("wb") as out:
        rows = subprocess.Popen(_sqlite3_words(root), stdout=subprocess.PIPE)
        both = subprocess.Popen(["tee", str(target)], stdin=rows.stdout, stdout=subprocess.PIPE)
        subprocess.run(["sha256sum"], stdin=both.stdout, stdout=subprocess.DEVNULL, check=True)
        assert rows.wait() == both.wait() == 0
        os.fsync(out.fileno())
    return watch.seconds


def plain_copy(files: list[Path], target: Path) -> float:
    """A plain copy of the same files, one after the other, each with fsync."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    settle_disk()
    with timed() as watch:
        for path in files:
            subprocess.run(
                ["dd", f"if={path}", f"of={target / path.name}", "bs=1M", "conv=fsync"],
                check=True,
                stderr=subprocess.DEVNULL,
            )
    return watch.seconds
