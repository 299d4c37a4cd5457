"""The real `penstock serve` as a process of its own, and signals for it.

Everything waits on events: the ready line, the end of the process.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
POLLS_PER_SECOND = 10_000  # a test that waits for a job asks as fast as it can
OUTPUT_SHOWN_BYTES = 4000


def command(*arguments: str) -> list[str]:
    """The command line of `penstock` with these arguments, from this checkout."""
    return [sys.executable, "-m", "web.main", *arguments]


def environment(settings: Mapping[str, object] | None = None) -> dict[str, str]:
    """This process's environment with exactly these settings of Penstock."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    given = {
        "PENSTOCK_" + name.replace(".", "_").upper(): str(value)
        for name, value in (settings or {}).items()
    }
    return {**kept, **given, "PYTHONPATH": str(ROOT)}


class ServerProcess:
    """A running server."""

    def __init__(self, process: trio.Process, ready: Mapping[str, Any], log: Path) -> None:
        self.process = process
        self.base_url: str = ready["baseUrl"]  # of the FHIR API
        self.addresses: Sequence[str] = ready["addresses"]
        self.log = log  # what it wrote to stderr

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def root_url(self) -> str:
        """Where /healthz, /readyz and /metrics are."""
        return self.base_url.removesuffix("/fhir")

    def terminate(self) -> None:
        """SIGTERM: drain and stop."""
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()

    async def wait(self) -> int:
        """Wait for its end, and return the exit status (negative: the signal)."""
        with trio.fail_after(STOP_SECONDS_MAX):
            return await self.process.wait()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


@asynccontextmanager
async def running_server(
    folder: Path, settings: Mapping[str, object] | None = None, *, bind: str = "127.0.0.1:0"
) -> AsyncIterator[ServerProcess]:
    """Start a server on the store in `folder`, wait until it is ready, and end it after.

    `settings` are by name (`engine.part_bytes`). Whatever the block did, no process is left.
    """
    given = {
        "store": f"sqlite:{folder}",
        "bind": bind,
        "polls_per_second": POLLS_PER_SECOND,
        "validation": "off",  # most resources of tests say no more than they must
        **(settings or {}),
    }
    with tempfile.NamedTemporaryFile(prefix="penstock-log-", delete=False) as log:
        process = await trio.lowlevel.open_process(
            command("serve"),
            env=environment(given),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        with trio.fail_after(START_SECONDS_MAX):
            ready = await _wait_ready(process, Path(log.name))
        yield ServerProcess(process, ready, Path(log.name))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_SECONDS_MAX):
            await _end(process)
        Path(log.name).unlink()


async def _wait_ready(process: trio.Process, log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        received = await process.stdout.receive_some(65536)
        if not received:
            status = await process.wait()
            tail = log.read_bytes()[-OUTPUT_SHOWN_BYTES:].decode(errors="replace")
            raise AssertionError(
                f"the server ended with status {status} before it was ready\n{tail}"
            )
        line += received
    facts: dict[str, Any] = json.loads(line)
    assert facts["ready"] is True
    return facts


async def _end(process: trio.Process) -> None:
    try:
        if process.returncode is None:
            process.kill()
            await process.wait()
    finally:
        if process.stdout is not None:
            await process.stdout.aclose()
