"""Finished files: read in ranges, found by location, removed; and nothing beside them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.files import FilesOutputStore, open_files
from backends.files.names import parse_location, place_of
from backends.files.store import READ_BLOCK_BYTES, READ_BLOCK_BYTES_MIN
from engine.errors import NotFound, OutputUnavailable
from engine.model import FileKind, StoredFile
from tests.files.conftest import open_descriptors
from tests.support.parts import LINES, batch, key, read, write

BAD_LOCATIONS = [
    "",
    "/etc/passwd",
    "t1/j1/output/../../../secret-1-1.ndjson",
    "../t1/output/Patient-1-1.ndjson",
    "t1/../output/Patient-1-1.ndjson",
    "t1//output/Patient-1-1.ndjson",
    "t1/j1/output/Patient-1-1.ndjson/",
    "t1/j1/output/.Patient-1-1.ndjson",
    "t1/j1/secrets/Patient-1-1.ndjson",
    "t1/j1/output/Patient-1-1.ndjson\0",
    "t1/j1/output/Patient-1-1.ndjson\n",
    "t1/j1/output/Patient-\u0661-1.ndjson",
]


def file_at(location: str, size: int = 3) -> StoredFile:
    return StoredFile(location=location, bytes=size, sha256="", stored_bytes=size, stored_sha256="")


async def test_every_range_gives_its_bytes(store: FilesOutputStore) -> None:
    file = await write(store, key())
    whole = await read(store, file)
    for start, stop in [(0, 1), (0, len(whole)), (5, 5), (100, 2000), (len(whole) - 1, None)]:
        assert await read(store, file, start, stop) == whole[start:stop]


async def test_blocks_are_large_and_smaller_for_many_readers(tmp_path: Path) -> None:
    async with open_files(tmp_path / "o") as store:
        file = await write(store, key(), [b"x" * (3 << 20) + b"\n"])
        async with store.read_part(file) as reader:
            assert len(await reader.read()) == READ_BLOCK_BYTES
        readers = [store.read_part(file) for _ in range(50)]
        for reader in readers:
            last = await reader.__aenter__()
        assert len(await last.read()) == READ_BLOCK_BYTES_MIN
        for reader in readers:
            await reader.__aexit__(None, None, None)


@pytest.mark.parametrize("location", BAD_LOCATIONS)
async def test_a_location_cannot_lead_out(
    store: FilesOutputStore, root: Path, location: str
) -> None:
    (root.parent / "secret-1-1.ndjson").write_text("abc")
    with pytest.raises(NotFound):
        await read(store, file_at(location))
    await store.remove(location)
    assert (root.parent / "secret-1-1.ndjson").read_text() == "abc"


@pytest.mark.parametrize("depth", range(4))
async def test_a_planted_link_leads_nowhere(
    store: FilesOutputStore, root: Path, depth: int
) -> None:
    """A link in the place of the tenant's, the job's or the kind's folder, or of the file."""
    segments = ("t1", "j1", "output", "Patient-1-1.ndjson")
    outside = root.parent / "outside"
    target = outside.joinpath(*segments[depth:])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("abc")
    link = root.joinpath(*segments[: depth + 1])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / segments[depth])
    with pytest.raises(NotFound):
        await read(store, file_at("/".join(segments)))
    if depth < 3:
        with pytest.raises(OutputUnavailable):
            await write(store, key(index=2))
    assert await store.jobs() in ([], [("t1", "j1")])
    await store.delete_job(key().tenant, key().job)
    assert target.read_text() == "abc"


async def test_a_pipe_in_the_place_of_a_file_makes_nobody_wait(
    store: FilesOutputStore, root: Path
) -> None:
    (root / "t1/j1/output").mkdir(parents=True)
    os.mkfifo(root / "t1/j1/output/Patient-1-1.ndjson")
    with pytest.raises(NotFound):
        await read(store, file_at("t1/j1/output/Patient-1-1.ndjson", 0))


async def test_a_file_of_another_size_than_recorded_is_not_served(
    store: FilesOutputStore, root: Path
) -> None:
    file = await write(store, key())
    os.truncate(root / file.location, 10)
    with pytest.raises(OutputUnavailable, match="size"):
        await read(store, file)


async def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_no_end(
    store: FilesOutputStore, root: Path
) -> None:
    file = await write(store, key())
    async with store.read_part(file) as reader:
        os.truncate(root / file.location, 0)
        with pytest.raises(OutputUnavailable, match="shorter"):
            await reader.read()


async def test_who_is_reading_gets_the_rest_of_a_deleted_file(store: FilesOutputStore) -> None:
    """E7"""
    file = await write(store, key())
    async with store.read_part(file) as reader:
        await store.delete_job(key().tenant, key().job)
        assert len(await reader.read()) == file.stored_bytes
    with pytest.raises(NotFound):
        await read(store, file)


async def test_a_missing_file_leaves_nothing_open(store: FilesOutputStore) -> None:
    descriptors = open_descriptors()
    with pytest.raises(NotFound):
        await read(store, file_at("t1/j1/output/Patient-1-1.ndjson"))
    assert open_descriptors() == descriptors


async def test_jobs_and_names_tell_what_lies_there(store: FilesOutputStore) -> None:
    files = [
        await write(store, key("Patient", 1)),
        await write(store, key("Observation", 12, token=3)),
        await write(store, key("OperationOutcome", 1, kind=FileKind.ERROR)),
        await write(store, key("Patient", 1, job="j2")),
        await write(store, key("Patient", 1, job="j1", tenant="t2")),
    ]
    assert await store.jobs() == [("t1", "j1"), ("t1", "j2"), ("t2", "j1")]
    names = await store.names(key().tenant, key().job)
    assert {name.location for name in names} == {file.location for file in files[:3]}
    assert all(name.finished and 0 <= name.age_s < 60 for name in names)


async def test_removing_the_last_file_removes_the_folders(
    store: FilesOutputStore, root: Path
) -> None:
    file = await write(store, key())
    await store.remove(file.location)
    await store.remove(file.location)
    assert os.listdir(root) == []


async def test_deleting_a_job_leaves_the_others(store: FilesOutputStore, root: Path) -> None:
    for index in range(1, 100):
        await write(store, key("Patient", index), LINES[:1])
    kept = await write(store, key(job="j10"))
    async with store.open_part(key("Patient", 100)) as sink:
        await sink.append(batch(*LINES))
        await store.delete_job(key().tenant, key().job)
    assert await store.jobs() == [("t1", "j10")]
    assert os.listdir(root / "t1") == ["j10"]
    assert len(await read(store, kept)) == kept.stored_bytes
    await store.delete_job(key().tenant, key().job)


async def test_what_is_not_ours_is_neither_listed_nor_followed(
    store: FilesOutputStore, root: Path
) -> None:
    (root / "t1/j1/output/folder").mkdir(parents=True)
    (root / "t1/j1/output/notes.txt").write_text("kept by somebody")
    (root / ".check-1").write_text("")
    (root / "lost+found").mkdir()
    assert await store.names(key().tenant, key().job) == []
    await store.delete_job(key().tenant, key().job)
    assert (root / "t1/j1/output/folder").is_dir()


async def test_folders_that_a_crash_left_empty_go(store: FilesOutputStore, root: Path) -> None:
    (root / "t1/j1/output").mkdir(parents=True)
    assert await store.jobs() == []
    assert not (root / "t1").exists()


_WORDS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(
    tenant=_WORDS,
    job=_WORDS,
    kind=st.sampled_from(FileKind),
    type=st.from_regex(r"[A-Z][A-Za-z]{1,63}", fullmatch=True),
    index=st.integers(1, 999_999_999),
    token=st.integers(0, 10**19 - 1),
    coding=st.sampled_from(("", "gzip")),
)
def test_every_place_can_be_read_back_from_its_location(
    tenant: str, job: str, kind: FileKind, type: str, index: int, token: int, coding: str
) -> None:
    place = place_of(key(type, index, token=token, job=job, tenant=tenant, kind=kind), coding)
    assert parse_location(place.location) == place


@given(st.text(st.sampled_from("./tjP-1ndsoupt\\\0"), max_size=40))
def test_no_text_becomes_a_place_with_a_way_up(text: str) -> None:
    try:
        place = parse_location(text)
    except NotFound:
        return
    assert not {"", ".", ".."} & set(place)
