"""A data directory that cannot be used stops the program with a message that says why."""

import os
from pathlib import Path

import apsw
import pytest

import backends
from engine.errors import SchemaTooNew, SettingInvalid, StartupError, StoreDamaged
from engine.model import WorkerId
from tests.support.exports import start


async def open_and_close(folder: Path) -> None:
    async with backends.open(f"sqlite:{folder}", worker=WorkerId("w1")) as backend:
        await start(backend)


def control(folder: Path) -> Path:
    return folder / "control.db"


def open_descriptors(folder: Path) -> list[str]:
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # of the listing itself
    return [link for link in links if link.startswith(str(folder))]


async def test_new_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    await open_and_close(tmp_path / "a" / "data")
    paths = [tmp_path / "a" / "data", *(tmp_path / "a" / "data").iterdir()]
    assert {path.name for path in paths} >= {"data", "control.db", "tenants", "workers"}
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


async def test_file_of_a_newer_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await open_and_close(tmp_path)
    connection = apsw.Connection(str(control(tmp_path)))
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = control(tmp_path).read_bytes()
    with pytest.raises(SchemaTooNew, match=r"control\.db.*9999"):
        await open_and_close(tmp_path)
    assert control(tmp_path).read_bytes() == before
    assert open_descriptors(tmp_path) == []


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    control(tmp_path).write_bytes(b"this is not a database" * 1000)
    with pytest.raises(StoreDamaged, match=r"control\.db"):
        await open_and_close(tmp_path)
    assert open_descriptors(tmp_path) == []


async def test_damaged_page_is_found_at_start(tmp_path: Path) -> None:
    await open_and_close(tmp_path)
    with control(tmp_path).open("r+b") as file:
        file.seek(3 * 8192)
        file.write(b"\xff" * 8192)
    with pytest.raises(StoreDamaged, match=r"control\.db"):
        await open_and_close(tmp_path)
    assert open_descriptors(tmp_path) == []


async def test_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(SettingInvalid, match=r"setting store: .*data"):
        await open_and_close(tmp_path / "data")


async def test_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind root")
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(StartupError, match="data"):
        await open_and_close(tmp_path / "data")


async def test_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    control(tmp_path).mkdir()
    with pytest.raises(StartupError, match=r"control\.db"):
        await open_and_close(tmp_path)
    assert open_descriptors(tmp_path) == []


@pytest.mark.parametrize("url", ["", "sqlite:", "postgres://host", "memory:x", "/data"])
async def test_url_of_no_backend_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid, match="setting store"):
        async with backends.open(url, worker=WorkerId("w1")):
            pass


async def test_error_of_the_block_leaves_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with backends.open(f"sqlite:{tmp_path}", worker=WorkerId("w1")):
            raise KeyError("mine")
    assert open_descriptors(tmp_path) == []


async def test_memory_backend_opens_by_its_url() -> None:
    async with backends.open("memory:", worker=WorkerId("w1")) as backend:
        job = await start(backend)
        assert (await backend.export_jobs.list(None))[0].id == job.id
