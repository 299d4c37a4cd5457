"""Every bad line is told by file and line number, and nothing else is lost."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from isal import igzip

from web.cli.loading.parsing import (
    BATCH_BYTES_MAX,
    BATCH_ROWS,
    DOCUMENT_BYTES_MAX,
    Rules,
    parse,
)
from web.cli.loading.seen import SeenIds
from web.cli.loading.sources import Source

RULES = Rules(resource_bytes_max=100_000)


class Loaded:
    """What the files gave, over all batches."""

    def __init__(self, *files: Path, rules: Rules = RULES) -> None:
        self.batches = list(parse([Source(f, f.stat().st_size) for f in files], rules))
        self.ids = [r.id for batch in self.batches for r in batch.resources]
        self.rejected = [r for batch in self.batches for r in batch.rejected]
        self.notices = [n for batch in self.batches for n in batch.notices]
        self.held = [h.id for batch in self.batches for h in batch.held]
        self.bytes_read = sum(batch.bytes_read for batch in self.batches)

    @property
    def lines(self) -> list[int | None]:
        return [r.line for r in self.rejected]


def file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def basic(id: str, size: int = 0) -> bytes:
    return b'{"resourceType":"Basic","id":"%b","x":"%b"}\n' % (id.encode(), b"x" * size)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"resourceType":"Basic","id":', "is not JSON: it ends too early"),
        (b"not json", "is not JSON near byte"),
        (b'{"id":"x"}', "has no resourceType"),
        (b'{"resourceType":"Basic"}', "has no id: give it one"),
        (b'{"resourceType":"Basic","id":"a b"}', "id is not 1 to 64"),
        (b'{"resourceType":"Basic","id":"x","n":NaN}', "NaN and Infinity"),
        (b'{"resourceType":"Basic","id":"x","id":"x"}', "'id' comes twice"),
        (b'{"resourceType":"Basic","id":"x","s":"\xff"}', "is not UTF-8 at byte"),
        (b'{"resourceType":"Basic","id":"x","s":"\\ud800"}', "half of a surrogate pair"),
        (b'{"resourceType":"Basic","id":"x","s":' + b"[" * 9_000 + b"]" * 9_000 + b"}", "nested"),
        (
            b'{"resourceType":"Basic","id":"x","s":"' + b"x" * 100_000 + b'"}',
            "longer than the limit",
        ),
        (b'{"resourceType":"Basic","id":"one"}', "of this type and id already"),
        (b"[]", "not an object"),
    ],
)
def test_bad_line_is_told_by_number_and_its_neighbours_are_kept(tmp_path, line, error):
    path = file(tmp_path / "x.ndjson", basic("one") + b"\n" + line + b"\n" + basic("two"))
    loaded = Loaded(path)
    assert loaded.ids == ["one", "two"]
    assert loaded.lines == [3]
    assert loaded.rejected[0].file == str(path)
    assert error in loaded.rejected[0].error


def test_line_of_200_mb_is_told_in_flat_memory(tmp_path):
    huge = b'{"resourceType":"Basic","id":"x","s":"' + b"x" * 200_000_000
    path = file(tmp_path / "x.ndjson.gz", igzip.compress(basic("a") + huge + b"\n" + basic("b")))
    del huge
    tracemalloc.start()
    try:
        loaded = Loaded(path, rules=Rules(resource_bytes_max=16 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (loaded.ids, loaded.lines) == (["a", "b"], [2])
    assert "longer than the limit of 16777216 bytes" in loaded.rejected[0].error
    assert peak < 40 << 20


def test_same_id_in_another_file_or_of_another_type_is_no_repetition(tmp_path):
    one = file(tmp_path / "1.ndjson", basic("a") + b'{"resourceType":"Patient","id":"a"}')
    two = file(tmp_path / "2.ndjson", basic("a"))
    loaded = Loaded(one, two)
    assert (loaded.ids, loaded.rejected) == (["a", "a", "a"], [])


def test_a_rejected_line_does_not_make_the_next_one_a_repetition(tmp_path):
    path = file(tmp_path / "x.ndjson", b'{"resourceType":"Basic","id":"a","x":}\n' + basic("a"))
    loaded = Loaded(path)
    assert (loaded.ids, loaded.lines) == (["a"], [1])


@pytest.mark.parametrize("name", ["x.ndjson", "x.json"])
@pytest.mark.parametrize("content", [b"", b"\n \r\n", gzip.compress(b"")])
def test_an_empty_file_is_told_and_is_no_error(tmp_path, name, content):
    loaded = Loaded(file(tmp_path / name, content), file(tmp_path / "y.ndjson", basic("a")))
    assert loaded.notices == [f"{tmp_path / name}: the file is empty"]
    assert (loaded.ids, loaded.rejected) == (["a"], [])


def test_lines_before_the_end_of_a_truncated_gzip_are_loaded(tmp_path):
    packed = gzip.compress(b"".join(basic(str(n)) for n in range(50_000)))
    path = file(tmp_path / "x.ndjson.gz", packed[: len(packed) // 2])
    loaded = Loaded(path, file(tmp_path / "y.ndjson", basic("last")))
    count = len(loaded.ids) - 1
    assert count > 10_000
    assert loaded.ids == [*map(str, range(count)), "last"]
    assert loaded.lines == [count + 1]
    assert "the gzip file ends too early" in loaded.rejected[0].error


def test_batches_hold_a_thousand_rows_or_what_fits(tmp_path):
    small = Loaded(file(tmp_path / "s.ndjson", b"".join(basic(str(n), 100) for n in range(30_000))))
    assert all(len(batch.resources) >= BATCH_ROWS for batch in small.batches[:-1])
    rules = Rules(resource_bytes_max=9_000_000)
    sizes = [90_000] * 100 + [6_000_000] + [3_000_000] * 2
    content = b"".join(basic(str(n), size) for n, size in enumerate(sizes))
    large = Loaded(file(tmp_path / "l.ndjson", content), rules=rules)
    assert large.ids == [str(n) for n in range(len(sizes))]
    for batch in large.batches:
        size = sum(r.size_bytes for r in batch.resources)
        assert size <= BATCH_BYTES_MAX or len(batch.resources) == 1


def test_small_files_share_a_batch(tmp_path):
    files = [file(tmp_path / f"{n}.ndjson", basic(str(n))) for n in range(50)]
    loaded = Loaded(*files)
    assert [len(batch.resources) for batch in loaded.batches] == [50]


def test_bytes_read_add_up_to_the_files(tmp_path):
    one = file(tmp_path / "1.ndjson", b"".join(basic(str(n), 900) for n in range(20_000)))
    two = file(tmp_path / "2.ndjson.gz", gzip.compress(one.read_bytes()))
    three = file(tmp_path / "3.json", b"{}")
    loaded = Loaded(one, two, three)
    assert loaded.bytes_read == sum(path.stat().st_size for path in (one, two, three))


def test_bundle_entries_are_loaded_and_the_bad_ones_told_by_their_place(tmp_path):
    patient = "urn:uuid:6f1f5c7e-9f5a-4a52-9d9a-0a4f6a0f7c11"
    entries = [
        {"fullUrl": patient, "resource": {"resourceType": "Patient"}},
        {"resource": {"resourceType": "Basic"}},
        {"resource": {"resourceType": "Patient", "id": "p"}, "request": {"method": "DELETE"}},
        {
            "resource": {
                "resourceType": "Basic",
                "id": "b",
                "subject": {"reference": patient},
                "author": {"reference": "Practitioner?identifier=1"},
            }
        },
        {"resource": {"resourceType": "Basic", "id": "b"}},
    ]
    content = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    loaded = Loaded(file(tmp_path / "x.json", json.dumps(content, indent=2).encode()))
    assert loaded.ids == [patient.removeprefix("urn:uuid:")]
    assert loaded.held == ["b"]
    assert [r.entry for r in loaded.rejected] == [2, 3, 5]
    assert "has no id: give it one, or a fullUrl" in loaded.rejected[0].error
    assert b"Patient/" + patient[9:].encode() in loaded.batches[0].held[0].tail


def test_a_json_file_may_be_one_resource_or_a_document(tmp_path):
    one = file(tmp_path / "1.json", b'{\n "resourceType": "Basic",\n "id": "a"\n}\n')
    two = file(
        tmp_path / "2.json", b'{"resourceType":"Bundle","type":"document","id":"d","entry":[]}'
    )
    loaded = Loaded(one, two)
    assert (loaded.ids, loaded.rejected) == (["a", "d"], [])


def test_a_bundle_on_a_line_is_a_resource(tmp_path):
    line = b'{"resourceType":"Bundle","type":"transaction","id":"t","entry":[{"resource":{}}]}'
    assert Loaded(file(tmp_path / "x.ndjson", line)).ids == ["t"]


def test_json_that_cannot_be_read_is_told_and_the_next_file_is_loaded(tmp_path):
    broken = file(tmp_path / "1.json", b'{"resourceType":"Bundle","type":"batch","entry":[')
    history = file(tmp_path / "2.json", b'{"resourceType":"Bundle","type":"history"}')
    loaded = Loaded(broken, history, file(tmp_path / "3.ndjson", basic("a")))
    assert loaded.ids == ["a"]
    assert [Path(r.file).name for r in loaded.rejected] == ["1.json", "2.json"]


def test_a_document_over_the_limit_is_told_with_what_to_do(tmp_path):
    path = file(tmp_path / "x.json", gzip.compress(b" " * (DOCUMENT_BYTES_MAX + 1), 1))
    loaded = Loaded(path)
    assert "must be called .ndjson" in loaded.rejected[0].error


def test_no_rejection_repeats_content(tmp_path):
    path = file(tmp_path / "x.ndjson", b'{"resourceType":"Basic","id":"Jane Doe"}\n{"Jane":Doe}\n')
    assert not any("Jane" in r.error or "Doe" in r.error for r in Loaded(path).rejected)


def test_seen_ids_know_each_resource_once():
    seen = SeenIds()
    assert all(seen.add("Basic", str(n)) for n in range(200_000))
    assert not any(seen.add("Basic", str(n)) for n in range(200_000))
    assert seen.add("Patient", "1")
