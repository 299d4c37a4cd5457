"""Cursors: good for one tenant and one query, and for nothing else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import BadParameter
from engine.fhir.search.cursor import CURSOR_CHARS_MAX, query_text, seal, unseal

KEY = b"k" * 32
QUERY = query_text("Patient", [("name", "a"), ("_count", "20")])
texts = st.text(st.characters(codec="utf-8"))


def sealed(position=b"position"):
    return seal(position, key=KEY, tenant="acme", query=QUERY)


def opened(cursor, **other):
    return unseal(cursor, **{"key": KEY, "tenant": "acme", "query": QUERY} | other)


def expect_refusal(cursor, **other):
    with pytest.raises(BadParameter) as caught:
        opened(cursor, **other)
    assert caught.value.expression == "_cursor"
    return str(caught.value)


@given(st.binary(max_size=300), st.binary(), texts, texts)
def test_what_was_sealed_is_opened(position, key, tenant, query):
    cursor = seal(position, key=key, tenant=tenant, query=query)
    assert unseal(cursor, key=key, tenant=tenant, query=query) == position


def test_cursor_needs_no_escape_in_a_url():
    cursor = sealed(bytes(range(256)))
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert cursor.isascii()


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "acme/research"},
        {"key": b"x" * 32},
        {"query": query_text("Patient", [("name", "b"), ("_count", "20")])},
        {"query": query_text("Practitioner", [("name", "a"), ("_count", "20")])},
        {"query": query_text("Patient", [("_count", "20"), ("name", "a")])},
        {"query": query_text("Patient", [])},
    ],
)
def test_cursor_of_another_tenant_key_or_query_is_refused(other):
    assert expect_refusal(sealed(), **other) == expect_refusal("made up")


def test_no_two_bindings_are_spelled_alike():
    # The same letters, cut in another place.
    cursor = seal(b"c", key=KEY, tenant="ab", query="")
    for tenant, query in [("a", "b"), ("", "ab")]:
        expect_refusal(cursor, tenant=tenant, query=query)
    assert query_text("a", [("b", "c")]) != query_text("a", [("b,c", "")])


def test_every_changed_character_is_noticed():
    cursor = sealed()
    for at, letter in enumerate(cursor):
        for other in "AQgw_-":
            if other != letter:
                expect_refusal(cursor[:at] + other + cursor[at + 1 :])


def test_shortened_and_lengthened_cursors_are_refused():
    cursor = sealed()
    for at in range(len(cursor)):
        expect_refusal(cursor[:at])
    for more in ("A", "AAAA", "=", "==", "\n", " "):
        expect_refusal(cursor + more)
        expect_refusal(more + cursor)


@given(texts)
@example("A" * (CURSOR_CHARS_MAX + 1))
@example("\ud800")
@example("AQ")
@example("٢٢٢٢")
def test_what_is_no_cursor_is_refused(text):
    assert "start again" in expect_refusal(text)
