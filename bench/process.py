"""Processes under measurement: a real server, its memory, its open files, its life and death."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

PENSTOCK = [sys.executable, "-m", "web.main"]
START_SECONDS_MAX = 30.0


@dataclass
class Server:
    """`penstock serve` on loopback."""

    process: subprocess.Popen[bytes]
    base: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def peak_memory_mib(self) -> float:
        """VmHWM: the largest resident set since the start, mapped files counted."""
        return _status_kib(self.process.pid, "VmHWM") / 1024

    @property
    def memory_mib(self) -> float:
        return _status_kib(self.process.pid, "VmRSS") / 1024

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def reset_peak(self) -> None:
        """Start counting the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def _status_kib(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise KeyError(key)


def environment(root: Path, **settings: str) -> dict[str, str]:
    """The environment of a command on the store below root."""
    names = {f"PENSTOCK_{name.upper()}": value for name, value in settings.items()}
    return {**os.environ, "PENSTOCK_STORE": f"sqlite:{root}", **names}


@contextmanager
def serving(root: Path, **settings: str) -> Iterator[Server]:
    """A server on the store below root; stopped by SIGTERM at the end, if it still lives."""
    server = start(root, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)


def start(root: Path, **settings: str) -> Server:
    """Start a server and wait until it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The measurements poll faster than the limit lets a client do.
    settings = {"bind": f"127.0.0.1:{port}", "polls_per_second": "1000", **settings}
    process = subprocess.Popen(
        [*PENSTOCK, "serve"],
        env=environment(root, **settings),
        stdout=subprocess.DEVNULL,
        stderr=(root.parent / "server.log").open("ab"),
    )
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            if httpx.get(base + "/readyz").status_code == 200:
                return Server(process, base, settings)
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            raise SystemExit(f"the server ended at start with status {process.returncode}")
        time.sleep(0.02)
    process.kill()
    raise SystemExit("the server did not get ready")


def command(root: Path, *words: str, **settings: str) -> str:
    """Run a penstock command on the store below root; its standard output."""
    done = subprocess.run(
        [*PENSTOCK, *words], env=environment(root, **settings), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"penstock {' '.join(words)}: {done.returncode}\n{done.stderr}")
    return done.stdout


def tenant_file(store: Path) -> Path:
    """The one tenant's SQLite file."""
    (path,) = (store / "tenants").glob("*.db")
    return path


def job_facts(store: Path, job: str) -> dict[str, int]:
    """What the job store has recorded of a job: read beside the server, which does not notice."""
    with sqlite3.connect(f"file:{store / 'control.db'}?mode=ro", uri=True) as control:
        control.row_factory = sqlite3.Row
        return dict(
            control.execute(
                "SELECT token, attempt, created_ms, finished_ms, "
                "(SELECT count(*) FROM export_part WHERE job = num) AS parts "
                "FROM export_job WHERE id = ?",
                (job,),
            ).fetchone()
        )
