"""Tests of the engine, on the memory model and on SQLite with real files, on virtual time."""

from pathlib import Path

import pytest

from tests.support.plant import KINDS, Plant


@pytest.fixture(params=KINDS)
async def plant(request: pytest.FixtureRequest, tmp_path: Path) -> Plant:
    return Plant(request.param, tmp_path)
