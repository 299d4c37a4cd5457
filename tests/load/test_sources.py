"""Files to load are found in order and read in bounded blocks."""

import gzip

import pytest

from engine.errors import StartupError
from web.cli.loading.sources import BLOCK_BYTES, Source, SourceBroken, SourceReader, find_sources


def source(path, content: bytes) -> Source:
    path.write_bytes(content)
    return Source(path, len(content))


def read(source: Source) -> tuple[bytes, str]:
    """What comes, and why no more comes if it is not all."""
    got = []
    try:
        for block in SourceReader(source).blocks():
            got.append(block)
    except SourceBroken as error:
        return b"".join(got), str(error)
    return b"".join(got), ""


def test_folders_give_what_can_be_loaded_in_sorted_order(tmp_path):
    for name in ("b/2.ndjson", "b/1.json.gz", "a.NDJSON.GZ", "c.jsonl", "notes.txt", "b/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(s.path.relative_to(tmp_path)) for s in find_sources([tmp_path])]
    assert found == ["a.NDJSON.GZ", "b/1.json.gz", "b/2.ndjson", "c.jsonl"]


def test_a_named_file_may_be_called_anything(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"{}")
    (found,) = find_sources([tmp_path / "notes.txt"])
    assert not found.is_document


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "A.JSON"])
def test_json_files_are_documents(tmp_path, name):
    assert Source(tmp_path / name, 0).is_document


def test_missing_paths_and_folders_with_nothing_to_load_stop_the_start(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StartupError, match="no such file or folder"):
        find_sources([tmp_path / "empty", tmp_path / "gone"][::-1])
    with pytest.raises(StartupError, match=r"holds no \.ndjson"):
        find_sources([tmp_path / "empty"])


def test_gzip_is_known_by_its_bytes_and_may_have_several_members_and_padding(tmp_path):
    content = gzip.compress(b"one\n") + gzip.compress(b"") + gzip.compress(b"two\n") + bytes(9)
    assert read(source(tmp_path / "x.ndjson", content)) == (b"one\ntwo\n", "")


def test_truncated_gzip_gives_all_it_holds_and_then_says_so(tmp_path):
    lines = b"".join(b"%d\n" % (n * n) for n in range(200_000))
    whole = gzip.compress(lines)
    got, why = read(source(tmp_path / "x.gz", whole[: len(whole) // 2]))
    assert lines.startswith(got) and len(got) > len(lines) // 3
    assert "ends too early" in why
    assert read(source(tmp_path / "y.gz", whole[:-1])) == (lines, why)
    assert read(source(tmp_path / "z.gz", whole[:5])) == (b"", why)


def test_damaged_gzip_gives_what_comes_long_before_the_damage(tmp_path):
    lines = b"".join(b"%d\n" % (n * n) for n in range(200_000))
    whole = bytearray(gzip.compress(lines))
    whole[-5] ^= 1  # the checksum
    got, why = read(source(tmp_path / "x.gz", bytes(whole)))
    assert lines.startswith(got) and len(got) > len(lines) // 3
    assert "damaged" in why


def test_well_packed_gzip_comes_in_small_blocks(tmp_path):
    packed = source(tmp_path / "x.gz", gzip.compress(bytes(50_000_000), 1))
    assert max(map(len, SourceReader(packed).blocks())) <= BLOCK_BYTES


def test_position_ends_at_the_size_on_disk(tmp_path):
    packed = source(tmp_path / "x.gz", gzip.compress(bytes(5_000_000)))
    reader = SourceReader(packed)
    for _ in reader.blocks():
        assert reader.position_bytes <= packed.size_bytes
    assert reader.position_bytes == packed.size_bytes


def test_a_folder_in_place_of_a_file_cannot_be_read(tmp_path):
    with pytest.raises(SourceBroken, match="cannot be read"):
        list(SourceReader(Source(tmp_path, 0)).blocks())
