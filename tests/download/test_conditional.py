"""Ranges, ETags and codings: the rules alone, some against a simple oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NotFound
from engine.export.filenames import file_name, parse_file_name
from engine.model import FileKind, Part, StoredFile
from web.fhir.conditional import (
    Precondition,
    Span,
    Unsatisfiable,
    check_preconditions,
    choose_coding,
    choose_span,
    parse_range,
    representation,
)

PLAIN_FILE = StoredFile(location="x", bytes=100, sha256="aa", stored_bytes=100, stored_sha256="aa")
GZIP_FILE = StoredFile(
    location="x", bytes=100, sha256="aa", coding="gzip", stored_bytes=20, stored_sha256="bb"
)


def oracle(first: int | None, last: int | None, size: int) -> list[int]:
    """The bytes that a range names, one by one (RFC 9110, 14.1.2)."""
    if first is None:
        assert last is not None
        return list(range(size))[-last:] if last else []
    return [n for n in range(size) if n >= first and (last is None or n <= last)]


@given(
    first=st.none() | st.integers(0, 60),
    last=st.none() | st.integers(0, 60),
    size=st.integers(0, 50),
)
def test_a_range_is_the_bytes_that_it_names(first: int | None, last: int | None, size: int) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    malformed = (first is None and last is None) or (
        first is not None and last is not None and last < first
    )
    if malformed:
        assert parse_range(header, size) is None
        return
    expected = oracle(first, last, size)
    if not expected:
        with pytest.raises(Unsatisfiable):
            parse_range(header, size)
        return
    span = parse_range(header, size)
    assert span is not None and list(range(*span)) == expected
    assert span.content_range(size) == f"bytes {expected[0]}-{expected[-1]}/{size}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1-2,5-6",
        "bytes=1",
        "lines=1-2",
        "bytes=+1-2",
        "bytes=1-2x",
        "bytes=\u0661-2",
    ],
)
def test_a_range_that_is_not_understood_is_ignored(header: str) -> None:
    assert parse_range(header, 100) is None


def test_a_range_may_have_numbers_of_any_length() -> None:
    assert parse_range("bytes=5-" + "9" * 10_000, 100) == Span(5, 100)
    assert parse_range("bytes=-" + "9" * 10_000, 100) == Span(0, 100)
    with pytest.raises(Unsatisfiable):
        parse_range("bytes=" + "9" * 10_000 + "-", 100)


@pytest.mark.parametrize("header", ["Bytes=0-1", " bytes=0-1 ", "bytes = 0 - 1"])
def test_a_range_may_be_written_in_other_ways(header: str) -> None:
    assert parse_range(header, 100) == Span(0, 2)


@pytest.mark.parametrize(
    ("header", "at_rest_plain", "at_rest_gzip"),
    [
        (None, "", ""),
        ("", "", ""),
        ("gzip", "", "gzip"),
        ("x-gzip", "", "gzip"),
        ("GZIP;q=0.1", "", "gzip"),
        ("gzip, deflate, br", "", "gzip"),
        ("*", "", "gzip"),
        ("gzip;q=0", "", ""),
        ("*;q=0", "", ""),
        ("identity", "", ""),
        ("br", "", ""),
        ("gzip;q=0.5, identity;q=0.9", "", ""),
        ("gzip;q=0.9, identity;q=0.5", "", "gzip"),
        ("gzip, identity;q=0", "gzip", "gzip"),
        ("gzip, *;q=0", "gzip", "gzip"),
        ("gzip;q=0, *", "", ""),
        ("identity;q=0", "", ""),
        ("gzip;q=nonsense", "", ""),
    ],
)
def test_the_coding_at_rest_is_sent_where_the_client_takes_it(
    header: str | None, at_rest_plain: str, at_rest_gzip: str
) -> None:
    """E77"""
    assert choose_coding(header, "") == at_rest_plain
    assert choose_coding(header, "gzip") == at_rest_gzip


def test_every_representation_has_a_tag_of_its_own() -> None:
    tags = {representation(f, c).etag for f in (PLAIN_FILE, GZIP_FILE) for c in ("", "gzip")}
    # The plain bytes are the same, however they are stored.
    assert tags == {'"aa"', '"aa-gzip"', '"bb-gzip"'}


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "expected"),
    [
        (None, None, Precondition.GO_ON),
        ('"aa"', None, Precondition.GO_ON),
        ("*", None, Precondition.GO_ON),
        ('"x", "aa"', None, Precondition.GO_ON),
        ('W/"aa"', None, Precondition.FAILED),
        ('"x"', None, Precondition.FAILED),
        ("aa", None, Precondition.FAILED),
        (None, '"aa"', Precondition.NOT_MODIFIED),
        (None, 'W/"aa"', Precondition.NOT_MODIFIED),
        (None, '"x" ,, W/"y","aa"', Precondition.NOT_MODIFIED),
        (None, "*", Precondition.NOT_MODIFIED),
        (None, '"aa-gzip"', Precondition.GO_ON),
        (None, '"x', Precondition.GO_ON),
        (None, "", Precondition.GO_ON),
        ('"x"', '"aa"', Precondition.FAILED),
    ],
)
def test_preconditions_compare_tags(
    if_match: str | None, if_none_match: str | None, expected: Precondition
) -> None:
    assert check_preconditions('"aa"', if_match, if_none_match) is expected


@pytest.mark.parametrize(
    ("if_range", "expected"),
    [
        (None, Span(0, 5)),
        ('"aa"', Span(0, 5)),
        ('W/"aa"', None),
        ('"aa-gzip"', None),
        ("Sat, 29 Oct 2026 19:43:31 GMT", None),
    ],
)
def test_if_range_needs_the_very_same_bytes(if_range: str | None, expected: Span | None) -> None:
    assert choose_span(representation(PLAIN_FILE, ""), "bytes=0-4", if_range) == expected


@pytest.mark.parametrize("file", [PLAIN_FILE, GZIP_FILE], ids=["plain", "gzip"])
def test_ranges_are_only_of_what_is_at_rest(file: StoredFile) -> None:
    for coding in ("", "gzip"):
        span = choose_span(representation(file, coding), "bytes=0-4", None)
        assert (span is not None) == (coding == file.coding)


@given(
    kind=st.sampled_from(FileKind),
    type=st.from_regex(r"[A-Z][A-Za-z]{1,63}", fullmatch=True),
    index=st.integers(1, 999_999_999),
)
def test_every_part_is_found_by_its_name(kind: FileKind, type: str, index: int) -> None:
    """D14"""
    name = file_name(Part(number=0, kind=kind, type=type, index=index))
    assert "/" not in name and name.endswith(".ndjson")
    assert parse_file_name(name) == (kind, type, index)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Patient",
        "patient-1.ndjson",
        "Patient-0.ndjson",
        "Patient-1.ndjson\n",
        "../x.ndjson",
        "Patient-\u0661.ndjson",
        "other-Patient-1.ndjson",
        "P-1.ndjson",
        "Patient-1.ndjson.tmp",
    ],
)
def test_no_other_name_is_a_file(name: str) -> None:
    with pytest.raises(NotFound):
        parse_file_name(name)
