"""Disks that are full, broken or cut off: what is left, and what is said."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.files import FilesOutputStore, open_files
from backends.files.writeout import start_write_out
from engine.errors import OutputFull, OutputUnavailable
from tests.support.parts import LINES, NDJSON, batch, key, read, write

ROOT = Path(__file__).resolve().parents[2]

# A process whose files cannot grow beyond a size, as on a disk with a quota.
FULL = """
import os, resource, sys, trio
from backends.files import open_files
from engine.errors import OutputFull
from tests.support.parts import batch, key
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

async def main():
    async with open_files(sys.argv[1]) as store:
        try:
            async with store.open_part(key()) as sink:
                for _ in range(3):
                    await sink.append(batch(b"x" * 700_000 + b"\\n"))
        except OutputFull as error:
            print("full:", error, "left:", os.listdir(sys.argv[1]))

trio.run(main)
"""

# A process that is killed with one part finished and one half written.
KILLED = """
import sys, trio
from backends.files import open_files
from tests.support.parts import LINES, batch, key, write

async def main():
    async with open_files(sys.argv[1], coding=sys.argv[2]) as store:
        await write(store, key("Patient", 1))
        async with store.open_part(key("Patient", 2)) as sink:
            await sink.append(batch(*LINES))
            print("writing", flush=True)
            await trio.sleep_forever()

trio.run(main)
"""


def process(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_full_disk_is_reported_as_full_and_the_file_goes(tmp_path: Path) -> None:
    with process(FULL, str(tmp_path / "o")) as full:
        said, _ = full.communicate(timeout=30)
    assert said.startswith("full: no space for output files") and said.endswith("left: []\n")


@pytest.mark.parametrize("coding", ["", "gzip"], ids=["plain", "gzip"])
async def test_a_killed_process_leaves_only_a_temporary_name(coding: str, tmp_path: Path) -> None:
    with process(KILLED, str(tmp_path / "o"), coding) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == "writing\n"
        killed.kill()
    async with open_files(tmp_path / "o") as store:
        names = await store.names(key().tenant, key().job)
        assert {name.location.split("/")[-1].split("-")[1]: name.finished for name in names} == {
            "1": True,
            "2": False,
        }
        (unfinished,) = (name for name in names if not name.finished)
        await store.remove(unfinished.location)
        # The next owner's token is another, so nothing of the dead is in its way.
        assert (await write(store, key("Patient", 2, token=2))).bytes == len(NDJSON)


async def test_a_failed_sync_throws_the_file_away_and_is_not_tried_again(
    store: FilesOutputStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    real_fsync = os.fsync

    def fail_for_files(fd: int) -> None:
        is_file = os.readlink(f"/proc/self/fd/{fd}").endswith(".tmp")
        synced.append(is_file)
        if is_file:
            raise OSError(errno.EIO, "disk error")
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fail_for_files)
    async with store.open_part(key()) as sink:
        await sink.append(batch(*LINES))
        with pytest.raises(OutputUnavailable):
            await sink.finalize()
        with pytest.raises(OutputUnavailable):
            await sink.finalize()
    assert synced.count(True) == 1
    assert os.listdir(root) == []


@pytest.mark.parametrize("name", ["rename", "writev", "open"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, OutputFull),
        (errno.EDQUOT, OutputFull),
        (errno.EFBIG, OutputFull),
        (errno.EIO, OutputUnavailable),
        (errno.EROFS, OutputUnavailable),
    ],
)
async def test_a_call_that_fails_leaves_nothing_and_says_which_kind(
    store: FilesOutputStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    error: type[OutputUnavailable],
) -> None:
    real: Callable[..., Any] = getattr(os, name)

    def fail(*args: Any, **kwargs: Any) -> Any:
        if name == "open" and not args[1] & os.O_CREAT:
            return real(*args, **kwargs)
        raise OSError(number, "injected")

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OutputUnavailable) as raised:
        await write(store, key())
    assert type(raised.value) is error
    assert "Patient" not in str(raised.value) and str(root) not in str(raised.value)
    assert os.listdir(root) == []


async def test_after_a_failed_append_the_sink_takes_nothing_more(
    store: FilesOutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.open_part(key()) as sink:
        with monkeypatch.context() as broken:
            broken.setattr(os, "writev", _no_space)
            with pytest.raises(OutputFull):
                await sink.append(batch(os.urandom(1 << 20)))  # no coder keeps this back
        with pytest.raises(OutputUnavailable):
            await sink.append(batch(b"x\n"))
        with pytest.raises(OutputUnavailable):
            await sink.finalize()


async def test_short_writes_are_continued_where_they_stopped(
    store: FilesOutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write

    def write_little(fd: int, chunks: list[bytes]) -> int:
        return real_write(fd, b"".join(chunks)[:777])

    monkeypatch.setattr(os, "writev", write_little)
    file = await write(store, key(), LINES[:500])
    assert file.bytes == len(b"".join(LINES[:500]))
    assert len(await read(store, file)) == file.stored_bytes


async def test_a_part_is_durable_before_it_has_its_name(
    store: FilesOutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{fd}")).suffix or "folder")
        real_fsync(fd)

    def rename(*args: Any, **kwargs: Any) -> None:
        calls.append("rename")
        real_rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    await write(store, key("Patient", 1))
    # The entries of the new folders: in the root, the tenant's and the job's folder.
    assert calls == ["folder"] * 3 + [".tmp", "rename", "folder"]
    calls.clear()
    await write(store, key("Patient", 2))
    assert calls == [".tmp", "rename", "folder"]
    await store.delete_job(key().tenant, key().job)
    calls.clear()
    await write(store, key("Patient", 1))
    assert calls == ["folder"] * 3 + [".tmp", "rename", "folder"]


def test_write_out_is_skipped_where_the_kernel_cannot_and_fails_where_the_file_does(
    tmp_path: Path,
) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.write(b"x" * 10_000)
        file.flush()
        start_write_out(file.fileno(), 0, 10_000)
    reading, writing = os.pipe()
    start_write_out(writing, 0, 10)
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        start_write_out(writing, 0, 10)


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "injected")
