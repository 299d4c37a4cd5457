"""Lines of NDJSON: split on \\n bytes only, bounded in memory (DESIGN promise 6)."""

import tracemalloc
from itertools import chain, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.fhir.lines import Line, split_lines

MIB = 1 << 20


def split(*blocks: bytes, bytes_max: int = 100) -> list[Line]:
    return list(split_lines(blocks, bytes_max=bytes_max))


def test_lines_are_numbered_from_one():
    assert split(b"a\nb\n") == [Line(1, b"a"), Line(2, b"b")]


def test_last_line_may_lack_its_newline():
    assert split(b"a\nb") == [Line(1, b"a"), Line(2, b"b")]


def test_blank_lines_are_skipped_and_counted():
    assert split(b"\n  \n\r\na\n\n\nb") == [Line(4, b"a"), Line(7, b"b")]


def test_carriage_return_before_the_newline_is_taken_off():
    assert split(b"a\r\nb\r", b"\nc\r") == [Line(1, b"a"), Line(2, b"b"), Line(3, b"c")]


def test_other_line_ends_of_unicode_are_part_of_a_line():
    text = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg\rh".encode()
    assert split(text + b"\n") == [Line(1, text)]


def test_an_empty_file_has_no_lines():
    assert split() == []
    assert split(b"") == []
    assert split(b"\n") == []


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_line_at_the_limit_is_kept_and_one_past_it_is_told_once(ending):
    assert split(b"x" * 100 + ending) == [Line(1, b"x" * 100)]
    assert split(b"x" * 101 + ending) == [Line(1, None)]
    assert split(b"x" * 60, b"x" * 60, b"x" * 60, ending) == [Line(1, None)]


def test_lines_around_a_long_one_are_kept_with_their_numbers():
    blocks = (b"a\n" + b"x" * 90, b"x" * 90, b"x" * 90 + b"\nb\n\nc")
    assert split(*blocks) == [Line(1, b"a"), Line(2, None), Line(3, b"b"), Line(5, b"c")]


def test_line_of_200_mb_takes_no_more_memory_than_the_limit():
    block = b"x" * MIB
    blocks = chain([b"a\n"], repeat(block, 200), [b"\nb\n"])
    tracemalloc.start()
    try:
        lines = list(split_lines(blocks, bytes_max=16 * MIB))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines == [Line(1, b"a"), Line(2, None), Line(3, b"b")]
    assert peak < 18 * MIB


def test_line_that_the_source_broke_in_does_not_come():
    def blocks():
        yield b"a\nb\nhalf"
        raise OSError

    lines = []
    with pytest.raises(OSError):
        lines.extend(split_lines(blocks(), bytes_max=100))
    got = split_lines(blocks(), bytes_max=100)
    assert [next(got), next(got)] == [Line(1, b"a"), Line(2, b"b")]
    with pytest.raises(OSError):
        next(got)


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"\n")), max_size=8))
def test_where_blocks_end_makes_no_difference(blocks):
    assert split(*blocks, bytes_max=5) == split(b"".join(blocks), bytes_max=5)
