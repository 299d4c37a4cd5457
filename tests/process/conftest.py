"""A store with sample data, loaded once by the real command and copied for each test."""

import gzip
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from tests.process.site import SMALL_PARTS, TYPES, StoreFolder
from tests.support.http_export import Export, export_client
from tests.support.server import command, environment, running_server

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "synthea-r4"
LOAD_SECONDS_MAX = 60


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no server has opened yet."""
    folder = tmp_path_factory.mktemp("template")
    subprocess.run(
        command("load", *(str(SAMPLE / f"{type}.ndjson.gz") for type in TYPES)),
        env=environment({"store": f"sqlite:{folder}"}),
        check=True,
        capture_output=True,
        timeout=LOAD_SECONDS_MAX,
    )
    return folder


@pytest.fixture(scope="session")
def undisturbed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """What an export gives, by type, of a copy that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    shutil.copytree(template, folder)

    async def export() -> Export:
        async with (
            running_server(folder, {**SMALL_PARTS, "engine.part_bytes": 1 << 20}) as server,
            export_client(server.base_url) as client,
        ):
            return await client.export()

    files = trio.run(export).by_type()
    assert {type: data.count(b"\n") for type, data in files.items()} == {
        type: gzip.decompress((SAMPLE / f"{type}.ndjson.gz").read_bytes()).count(b"\n")
        for type in TYPES
    }
    return files


@pytest.fixture
def store(template: Path, tmp_path: Path) -> StoreFolder:
    """A copy of its own for each test."""
    folder = tmp_path / "store"
    shutil.copytree(template, folder)
    return StoreFolder(folder)
