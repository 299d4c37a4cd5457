"""A full disk parks an export; with space it goes on where it was."""

import resource
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.process.site import SMALL_PARTS, StoreFolder, until
from tests.support.http_export import export_client
from tests.support.server import running_server

QUICK_RETRIES = {
    "engine.backoff_seconds": 0.2,
    "engine.backoff_seconds_max": 1,
    "engine.poll_seconds": 0.2,
}
FILE_BYTES_MAX = 1 << 20


def is_waiting(status: httpx.Response) -> bool:
    """Or it has ended, which it should not have."""
    return status.status_code != 202 or status.headers["X-Progress"].startswith("waiting: ")


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: str) -> None:
        mount("-o", f"remount,size={size}", str(self.path))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


async def test_full_disk_parks_the_export_with_its_reason_until_there_is_space(
    store: StoreFolder, undisturbed: Mapping[str, bytes], small_disk: Disk
) -> None:
    store = StoreFolder(store.folder, small_disk.path / "output")
    settings = {**SMALL_PARTS, **QUICK_RETRIES, "output": store.output}
    async with (
        running_server(store.folder, settings) as server,
        export_client(server.base_url) as client,
    ):
        job = await client.kick_off()
        parked = await client.until(job, is_waiting)
        assert parked.status_code == 202
        assert parked.headers["X-Progress"].startswith("waiting: no space for output files")
        # Tried again and again, and no attempt is lost by it.
        await until(lambda: store.job(job).token > 3)
        await until(lambda: store.job(job).worker is None)
        assert (await client.http.get(f"{server.root_url}/readyz")).status_code == 503
        recorded, files = store.parts(job), store.files(job)
        assert 0 < len(recorded) < store.job(job).parts_total

        small_disk.resize("256m")
        assert (await client.result(job)).by_type() == undisturbed
        await until(lambda: not store.strays(job))
        parts, after = store.parts(job), store.files(job)
        assert {number: parts[number] for number in recorded} == recorded
        assert all(after[part.location] == files[part.location] for part in recorded.values())
        assert store.job(job).attempt == 1
        assert (await client.http.get(f"{server.root_url}/readyz")).status_code == 200


async def test_files_that_may_not_grow_park_the_export_too(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    """The kernel refuses to write beyond a size, as a quota does."""
    settings = {**SMALL_PARTS, **QUICK_RETRIES, "engine.part_bytes": 64 << 20}
    assert any(len(data) > FILE_BYTES_MAX for data in undisturbed.values())
    async with (
        running_server(store.folder, settings) as server,
        export_client(server.base_url) as client,
    ):
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, hard))
        job = await client.kick_off()
        parked = await client.until(job, is_waiting)
        assert "no space for output files" in parked.headers["X-Progress"]
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert (await client.result(job)).by_type() == undisturbed
        await until(lambda: not store.strays(job))
