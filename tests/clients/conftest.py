"""A real server for real clients: one process, and an empty tenant of it for each test."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import STOP_SECONDS_MAX, command, environment

TENANTS = [f"t{number}" for number in range(60)]


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[str]:
    """`penstock serve` on an empty store in this folder: the base address it is reached by."""
    given = {"store": f"sqlite:{folder}", "bind": "127.0.0.1:0", **settings}
    with (
        (folder / "serve.log").open("wb") as log,
        subprocess.Popen(
            command("serve"),
            env=environment(given),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()  # empty if it has ended
            assert ready, (folder / "serve.log").read_text(errors="replace")
            yield json.loads(ready)["baseUrl"]
            process.terminate()
            assert process.wait(STOP_SECONDS_MAX) == 0
        finally:
            process.kill()


@pytest.fixture(scope="session")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[str]]:
    """The base addresses of tenants that nobody has used."""
    with serving(tmp_path_factory.mktemp("clients"), tenants=",".join(TENANTS)) as base:
        yield (f"{base}/{tenant}" for tenant in TENANTS)


@pytest.fixture
def base(tenants: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The base address of this test's own tenant."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # which the clients look at
    return next(tenants)
