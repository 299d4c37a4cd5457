"""The bare loop: what an export would cost without an engine.

The same plan, SQL, batch size, hash, write-out, fsyncs and renames, on as many threads as a job
has lanes of two (one that reads and one that writes), and nothing else: no jobs, leases, records,
cancellation or memory channels.
"""

import argparse
import hashlib
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from queue import Empty, Queue, SimpleQueue
from typing import Any

import apsw
import msgspec

from backends.files.writeout import start_write_out
from backends.sqlite.queries import load_queries
from backends.sqlite.stream import CHUNK_BYTES, CHUNK_ROWS_MAX
from backends.sqlite.types import REPLACED
from engine.model import Part

LANES = 2
WRITE_OUT_BYTES = 8 << 20
LINES = load_queries("bulk")["lines_unfiltered"]


class Reader:
    """Reads the batches of one part after the other, one ahead of its writer."""

    def __init__(self, store: Path, parts: SimpleQueue[Part], seq: int) -> None:
        self._path = next((store / "tenants").glob("*.db"))
        self._parts = parts
        self._over = REPLACED + seq
        self.batches: Queue[tuple[Part, bytes] | None] = Queue(1)

    def run(self) -> None:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(10_000)
        try:
            while True:
                try:
                    part = self._parts.get_nowait()
                except Empty:
                    break
                self._read(connection, part)
        finally:
            self.batches.put(None)
            connection.close()

    def _read(self, connection: apsw.Connection, part: Part) -> None:
        rid, per_row = part.first, part.bytes_estimate / max(1, part.rows_estimate)
        look = max(1, min(CHUNK_ROWS_MAX, int(CHUNK_BYTES / per_row)))
        while rid <= part.last:
            values = (rid, part.last, look, self._over)
            row: Any = connection.execute(LINES, values).fetchall()[0]
            last, rows, lines = row
            if not rows:
                return
            self.batches.put((part, lines))
            look = max(1, min(CHUNK_ROWS_MAX, int(CHUNK_BYTES * rows / len(lines))))
            rid = last + 1


def write(reader: Reader, folder: Path) -> None:
    """Write what a reader gives: hash, write, write-out, fsync, rename, fsync of the folder."""
    current: Part | None = None
    fd = -1
    hashed = hashlib.sha256()
    written = started = 0
    directory = os.open(folder, os.O_RDONLY)

    def finish() -> None:
        assert current is not None
        hashed.hexdigest()
        os.fsync(fd)
        os.close(fd)
        name = f"{current.type}-{current.index}.ndjson"
        os.rename(f"{name}.tmp", name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)

    while (message := reader.batches.get()) is not None:
        part, lines = message
        if part is not current:
            if current is not None:
                finish()
            current, hashed, written, started = part, hashlib.sha256(), 0, 0
            name = f"{part.type}-{part.index}.ndjson.tmp"
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        hashed.update(lines)
        hashed.update(b"\n")
        written += os.writev(fd, (lines, b"\n"))
        if written - started >= WRITE_OUT_BYTES:
            start_write_out(fd, started, written)
            started = written
    if current is not None:
        finish()
    os.close(directory)


def last_plan(store: Path) -> tuple[list[Part], int]:
    """The plan and the snapshot's seq of the newest export of the store."""
    with sqlite3.connect(store / "control.db") as control:
        text, seq = control.execute(
            "SELECT parts, seq FROM export_plan JOIN export_job ON num = job "
            "ORDER BY num DESC LIMIT 1"
        ).fetchone()
    parts = msgspec.json.decode(text, type=list[Part])
    return [part for part in parts if part.kind == "output"], seq


def export_bare(store: Path, folder: Path) -> float:
    """Export by the bare loop; seconds. The folder is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    plan, seq = last_plan(store)
    os.sync()
    began = time.perf_counter()
    parts: SimpleQueue[Part] = SimpleQueue()
    for part in plan:
        parts.put(part)
    readers = [Reader(store, parts, seq) for _ in range(LANES)]
    threads = [threading.Thread(target=reader.run) for reader in readers]
    threads += [threading.Thread(target=write, args=(reader, folder)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("store", type=Path)
    words.add_argument("folder", type=Path)
    given = words.parse_args()
    print(f"{export_bare(given.store, given.folder):.3f} s")
