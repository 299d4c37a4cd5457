"""What a written part is: whole, hashed, private, under a name of its own."""

import gzip
import hashlib
import os
import stat
from pathlib import Path

import pytest
import trio

from backends.files import FilesOutputStore, open_files
from engine.errors import OutputFull, OutputUnavailable, StartupError
from engine.model import FileKind
from tests.support.parts import LINES, NDJSON, batch, key, read, write


def files_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


async def test_a_part_has_the_bytes_and_hashes_of_what_was_appended(
    store: FilesOutputStore,
) -> None:
    async with store.open_part(key()) as sink:
        for first in range(0, len(LINES), 300):
            await sink.append(batch(*LINES[first : first + 300]))
        file = await sink.finalize()
    stored = await read(store, file)
    plain = gzip.decompress(stored) if file.coding else stored
    assert plain == NDJSON
    assert (file.bytes, file.sha256) == (len(plain), hashlib.sha256(plain).hexdigest())
    assert file.stored_bytes == len(stored)
    assert file.stored_sha256 == hashlib.sha256(stored).hexdigest()


async def test_more_chunks_than_one_call_of_the_kernel_takes_are_written(
    store: FilesOutputStore,
) -> None:
    file = await write(store, key(), [b"x\n"] * 5000 + [b""])
    stored = await read(store, file)
    assert (gzip.decompress(stored) if file.coding else stored) == b"x\n" * 5000


async def test_the_same_batches_give_the_same_file(store: FilesOutputStore) -> None:
    first = await write(store, key(token=1))
    second = await write(store, key(token=2))
    assert await read(store, first) == await read(store, second)
    assert first.stored_sha256 == second.stored_sha256


async def test_two_owners_of_a_job_never_share_a_name(store: FilesOutputStore) -> None:
    async with store.open_part(key(token=1)) as zombie, store.open_part(key(token=2)) as owner:
        await zombie.append(batch(b"zombie\n"))
        await owner.append(batch(b"owner\n"))
        old, new = await zombie.finalize(), await owner.finalize()
    assert old.location != new.location
    assert {name.token for name in await store.names(key().tenant, key().job)} == {1, 2}


async def test_a_finished_part_is_never_written_again(store: FilesOutputStore) -> None:
    file = await write(store, key())
    with pytest.raises(OutputUnavailable):
        await write(store, key(), [b"other\n"])
    assert len(await read(store, file)) == file.stored_bytes
    assert [name.location for name in await store.names(key().tenant, key().job)] == [file.location]


async def test_who_comes_second_for_a_key_does_not_harm_who_is_writing(
    store: FilesOutputStore,
) -> None:
    async with store.open_part(key()) as sink:
        await sink.append(batch(*LINES))
        with pytest.raises(OutputUnavailable):
            await write(store, key(), [b"other\n"])
        file = await sink.finalize()
    assert file.bytes == len(NDJSON)
    assert len(await read(store, file)) == file.stored_bytes


async def test_leaving_without_finalize_leaves_nothing(store: FilesOutputStore, root: Path) -> None:
    async def die() -> None:
        async with store.open_part(key()) as sink:
            await sink.append(batch(*LINES))
            raise RuntimeError("the producer died")

    with pytest.raises(RuntimeError, match="producer"):
        await die()
    assert files_below(root) == []


async def test_only_this_user_may_read_files_and_folders(
    store: FilesOutputStore, root: Path
) -> None:
    await write(store, key())
    modes = {p.is_dir(): stat.S_IMODE(p.stat().st_mode) for p in [root, *root.rglob("*")]}
    assert modes == {True: 0o700, False: 0o600}


async def test_an_unfinished_file_is_listed_as_such(store: FilesOutputStore) -> None:
    async with store.open_part(key(token=7, kind=FileKind.ERROR)):
        (name,) = await store.names(key().tenant, key().job)
        assert (name.token, name.finished) == (7, False)
        assert await store.jobs() == [("t1", "j1")]
    assert await store.jobs() == []


async def test_parts_that_give_up_do_not_disturb_their_neighbours(
    store: FilesOutputStore, scheduler_seed: int
) -> None:
    """Who gives up removes folders that are empty, just while others are made in them."""

    async def keep(index: int) -> None:
        await write(store, key("Patient", index), LINES[:10])

    async def give_up(index: int) -> None:
        async with store.open_part(key("Patient", index)):
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for index in range(1, 41):
            nursery.start_soon(give_up if index % 4 else keep, index)
    names = await store.names(key().tenant, key().job)
    assert len(names) == 10 and all(name.finished for name in names)


async def test_too_little_free_space_is_reported_as_full(tmp_path: Path) -> None:
    async with open_files(tmp_path / "o", free_bytes_min=1 << 60) as store:
        with pytest.raises(OutputFull, match="free"):
            await store.check()


async def test_a_directory_that_is_good_passes_the_check(
    store: FilesOutputStore, root: Path
) -> None:
    await store.check()
    assert files_below(root) == []


async def test_a_directory_that_went_away_fails_the_check(
    store: FilesOutputStore, root: Path
) -> None:
    os.rmdir(root)
    with pytest.raises(OutputUnavailable):
        await store.check()


async def test_a_file_in_the_place_of_the_directory_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "o").write_text("not a folder")
    with pytest.raises(StartupError, match="output directory"):
        async with open_files(tmp_path / "o"):
            pass
