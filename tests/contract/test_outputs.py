"""OutputStore: on the memory model and on a local directory, plain and gzip."""

import gzip
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from backends.files import open_files
from backends.files.store import FilesDoors, FilesStatistics
from engine.errors import NotFound
from engine.model import Batch, FileKind, JobId, PartKey, StoredFile
from engine.ports import OutputStore
from engine.tenant import TenantKey
from tests.support.builders import line, ndjson
from tests.support.descriptors import open_files_under
from tests.support.ports import memory_ports

T1, T2 = TenantKey("0123456789abcdef"), TenantKey("0123456789abcdee")
J1, J2 = JobId("a" * 32), JobId("b" * 32)
LINES = ndjson(line("Patient", str(number)) for number in range(40_000))  # 1.6 MB: two blocks


@pytest.fixture(params=["memory", "files-threads", "files-inline"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["", "gzip"], ids=["plain", "gzip"])
def coding(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def outputs(kind: str, coding: str, tmp_path: Path) -> AsyncIterator[OutputStore]:
    if kind == "memory":
        async with memory_ports(coding=coding) as ports:
            yield ports.outputs
        return
    doors = FilesDoors.inline() if kind == "files-inline" else FilesDoors.threads()
    async with open_files(tmp_path / "output", coding=coding, doors=doors) as outputs:
        yield outputs
        assert outputs.statistics() == FilesStatistics(open_sinks=0, open_readers=0)
    assert open_files_under(tmp_path) == []


def key_of(
    *,
    tenant: TenantKey = T1,
    job: JobId = J1,
    kind: FileKind = FileKind.OUTPUT,
    index: int = 1,
    token: int = 1,
) -> PartKey:
    return PartKey(tenant=tenant, job=job, kind=kind, type="Patient", index=index, token=token)


async def write(outputs: OutputStore, key: PartKey, data: bytes = LINES) -> StoredFile:
    async with outputs.open_part(key) as sink:
        for start in range(0, len(data), 500_000):
            piece = data[start : start + 500_000]
            await sink.append(Batch((piece[:100], piece[100:]), piece.count(b"\n")))
        return await sink.finalize()


async def at_rest(
    outputs: OutputStore, file: StoredFile, start: int = 0, stop: int | None = None
) -> bytes:
    data = b""
    async with outputs.read_part(file, start=start, stop=stop) as reader:
        while block := await reader.read():
            assert len(block) <= 1 << 20
            data += block
    return data


async def decoded(outputs: OutputStore, file: StoredFile) -> bytes:
    data = await at_rest(outputs, file)
    return gzip.decompress(data) if file.coding == "gzip" else data


async def test_what_was_written_is_read(outputs, coding):
    file = await write(outputs, key_of())
    assert file.coding == coding
    assert await decoded(outputs, file) == LINES


async def test_sizes_and_hashes_are_those_of_the_bytes(outputs, coding):
    file = await write(outputs, key_of())
    stored = await at_rest(outputs, file)
    assert (file.bytes, file.sha256) == (len(LINES), sha256(LINES).hexdigest())
    assert (file.stored_bytes, file.stored_sha256) == (len(stored), sha256(stored).hexdigest())
    assert (stored == LINES) == (coding == "")


async def test_the_same_bytes_make_the_same_file_whoever_writes_them(outputs):
    first = await write(outputs, key_of(token=1))
    second = await write(outputs, key_of(token=2))
    assert (first.sha256, first.stored_sha256) == (second.sha256, second.stored_sha256)


async def test_an_empty_file_can_be_written(outputs):
    file = await write(outputs, key_of(), b"")
    assert file.bytes == 0
    assert await decoded(outputs, file) == b""


async def test_a_batch_may_be_empty_and_have_many_chunks(outputs):
    chunks = tuple(b'{"n":%d}\n' % number for number in range(3000))
    async with outputs.open_part(key_of()) as sink:
        await sink.append(Batch((), 0))
        await sink.append(Batch(chunks, len(chunks)))
        await sink.append(Batch((b"", b"{}\n"), 1))
        file = await sink.finalize()
    assert await decoded(outputs, file) == b"".join(chunks) + b"{}\n"


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 0), (5, 5), (7, 1000), (1, None), (100, 5000)]
)
async def test_a_range_is_read_from_the_bytes_at_rest(outputs, start, stop):
    file = await write(outputs, key_of())
    whole = await at_rest(outputs, file)
    assert len(whole) > 5000
    assert await at_rest(outputs, file, start, stop) == whole[start:stop]


async def test_a_range_up_to_the_end(outputs):
    file = await write(outputs, key_of())
    whole = await at_rest(outputs, file)
    assert await at_rest(outputs, file, file.stored_bytes - 10, file.stored_bytes) == whole[-10:]


async def test_an_unfinished_file_has_a_temporary_name_only(outputs):
    async with outputs.open_part(key_of(token=7)) as sink:
        await sink.append(Batch((LINES,), 40_000))
        (name,) = await outputs.names(T1, J1)
        assert (name.finished, name.token) == (False, 7)
        assert 0 <= name.age_s < 600
        file = await sink.finalize()
    (name,) = await outputs.names(T1, J1)
    assert (name.finished, name.token, name.location) == (True, 7, file.location)


async def test_leaving_without_finalize_leaves_nothing(outputs):
    async with outputs.open_part(key_of()) as sink:
        await sink.append(Batch((LINES,), 40_000))
    assert list(await outputs.names(T1, J1)) == []
    assert list(await outputs.jobs()) == []


async def test_an_error_while_writing_leaves_nothing(outputs):
    async def write_and_break() -> None:
        async with outputs.open_part(key_of()) as sink:
            await sink.append(Batch((LINES,), 40_000))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_and_break()
    assert list(await outputs.names(T1, J1)) == []


async def test_after_an_abort_the_same_part_can_be_written(outputs):
    async with outputs.open_part(key_of()) as sink:
        await sink.append(Batch((b"half a li",), 0))
    file = await write(outputs, key_of())
    assert await decoded(outputs, file) == LINES


@pytest.mark.parametrize("ticks", range(12))
async def test_a_cancelled_write_leaves_a_whole_file_or_nothing(outputs, ticks):
    async def write_it() -> None:
        finished.append(await write(outputs, key_of()))

    finished: list[StoredFile] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_it)
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    names = [name.location for name in await outputs.names(T1, J1)]
    assert names == [file.location for file in finished]


async def test_a_finalize_cancelled_from_the_start_leaves_neither_name(outputs):
    with trio.CancelScope() as scope:
        async with outputs.open_part(key_of()) as sink:
            await sink.append(Batch((LINES,), 40_000))
            scope.cancel()
            await sink.finalize()
    assert scope.cancelled_caught
    assert list(await outputs.names(T1, J1)) == []


async def test_two_owners_of_a_part_never_share_a_file(outputs):
    """The zombie and its successor write at once; each file is its writer's alone."""
    other = LINES[: len(LINES) // 2]
    async with outputs.open_part(key_of(token=1)) as zombie:
        await zombie.append(Batch((LINES,), 40_000))
        held = await write(outputs, key_of(token=2), other)
        late = await zombie.finalize()
    assert late.location != held.location
    assert await decoded(outputs, held) == other
    assert {name.token for name in await outputs.names(T1, J1)} == {1, 2}


async def test_kinds_and_indexes_are_files_of_their_own(outputs):
    keys = [key_of(), key_of(index=2), key_of(kind=FileKind.ERROR), key_of(kind=FileKind.DELETED)]
    locations = {(await write(outputs, key, b"{}\n")).location for key in keys}
    assert len(locations) == 4
    assert {name.location for name in await outputs.names(T1, J1)} == locations


async def test_every_job_with_a_file_is_listed(outputs):
    await write(outputs, key_of(), b"{}\n")
    await write(outputs, key_of(tenant=T2), b"{}\n")
    async with outputs.open_part(key_of(job=J2)):
        assert set(await outputs.jobs()) == {(T1, J1), (T2, J1), (T1, J2)}
    assert set(await outputs.jobs()) == {(T1, J1), (T2, J1)}


async def test_names_are_those_of_one_job_of_one_tenant(outputs):
    mine = await write(outputs, key_of(), b"{}\n")
    await write(outputs, key_of(tenant=T2), b"{}\n")
    await write(outputs, key_of(job=J2), b"{}\n")
    assert [name.location for name in await outputs.names(T1, J1)] == [mine.location]


async def test_a_removed_file_is_gone_and_may_be_removed_again(outputs):
    file = await write(outputs, key_of(), b"{}\n")
    kept = await write(outputs, key_of(index=2), b"{}\n")
    for _ in range(2):
        await outputs.remove(file.location)
    with pytest.raises(NotFound):
        await at_rest(outputs, file)
    assert await decoded(outputs, kept) == b"{}\n"


async def test_an_unfinished_file_can_be_removed_by_its_name(outputs):
    async with outputs.open_part(key_of()):
        (name,) = await outputs.names(T1, J1)
        await outputs.remove(name.location)
        assert list(await outputs.names(T1, J1)) == []


async def test_a_deleted_job_has_no_files_and_others_keep_theirs(outputs):
    for kind in FileKind:
        await write(outputs, key_of(kind=kind), b"{}\n")
    other = await write(outputs, key_of(job=J2), b"{}\n")
    foreign = await write(outputs, key_of(tenant=T2), b"{}\n")
    for _ in range(2):
        await outputs.delete_job(T1, J1)
    assert list(await outputs.names(T1, J1)) == []
    assert set(await outputs.jobs()) == {(T1, J2), (T2, J1)}
    assert await decoded(outputs, other) == await decoded(outputs, foreign) == b"{}\n"


async def test_what_never_was_is_not_found_and_deleting_it_does_nothing(outputs):
    file = await write(outputs, key_of(), b"{}\n")
    await outputs.remove(file.location)
    with pytest.raises(NotFound):
        async with outputs.read_part(file):
            pytest.fail("there is nothing to read")
    await outputs.delete_job(T2, J2)
    assert list(await outputs.names(T2, J2)) == []
    assert list(await outputs.jobs()) == []


async def test_a_file_removed_while_it_is_read_breaks_nobody_else(outputs):
    file = await write(outputs, key_of())
    other = await write(outputs, key_of(index=2))
    async with outputs.read_part(file) as reader:
        assert await reader.read()
        await outputs.remove(file.location)
    assert await decoded(outputs, other) == LINES


async def test_parts_are_written_and_read_at_once(outputs, scheduler_seed):
    data = {index: b'{"part":%d}\n' % index * 20_000 for index in range(1, 5)}
    files = {}

    async def make(index: int) -> None:
        files[index] = await write(outputs, key_of(index=index), data[index])
        assert await decoded(outputs, files[index]) == data[index]

    async with trio.open_nursery() as nursery:
        for index in data:
            nursery.start_soon(make, index)
    assert len(await outputs.names(T1, J1)) == len(data)


async def test_a_store_with_room_passes_the_check(outputs):
    await outputs.check()
    assert list(await outputs.jobs()) == []
