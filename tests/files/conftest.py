"""The local output store on a real directory, through both kinds of doors and both codings."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from backends.files import FilesDoors, FilesOutputStore, open_files


@pytest.fixture(params=["threads", "inline"])
def doors(request: pytest.FixtureRequest) -> Callable[[], FilesDoors]:
    return FilesDoors.threads if request.param == "threads" else FilesDoors.inline


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture(params=["", "gzip"], ids=["plain", "gzip"])
async def store(
    request: pytest.FixtureRequest, root: Path, doors: Callable[[], FilesDoors]
) -> AsyncIterator[FilesOutputStore]:
    """Nothing of it is open when the test is over."""
    descriptors = open_descriptors()
    async with open_files(root, coding=request.param, doors=doors(), free_bytes_min=0) as opened:
        yield opened
        statistics = opened.statistics()
        assert (statistics.open_sinks, statistics.open_readers) == (0, 0)
    assert open_descriptors() == descriptors


def open_descriptors() -> list[str]:
    """What this process has open that is a file or a folder."""
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the listing's own
            continue
    return sorted(target for target in targets if target.startswith("/") and "/dev/" not in target)
