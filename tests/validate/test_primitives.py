"""Values of primitive types look as the specification says."""

import base64
from typing import Any

import pytest

from engine.fhir.primitives import STRING_CHARACTERS_MAX, primitive_check

UUID = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"

VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    # Type: what is one, and what is none.
    "boolean": ([True, False], ["true", 1, 0, None, []]),
    "integer": ([0, -5, 2**31 - 1, -(2**31)], [2**31, -(2**31) - 1, 1.0, "1", True]),
    "unsignedInt": ([0, 2**31 - 1], [-1, 2**31, 0.0, False]),
    "positiveInt": ([1, 2**31 - 1], [0, -1, 2**31, True]),
    "decimal": ([0, 1.5, -1e300, 10**300], ["1.5", True, None, 10**309]),
    "string": (["x", " ", "a\nb\tc", "\u2028", "x" * STRING_CHARACTERS_MAX],
               ["", 1, None, "x" * (STRING_CHARACTERS_MAX + 1)]),
    "markdown": (["# x\n"], ["", 1]),
    "code": (["x", "two words", "ä"], ["", " x", "x ", "two  blanks", 1]),
    "id": (["1", "A-b.9", "x" * 64], ["", "x" * 65, "a_b", "a/b", "ä", "a b", "a\n"]),
    "uri": (["x", "urn:oid:1.2", "http://x/ä"], ["", "a b", "a\n", " a", 1]),
    "url": (["http://x/y"], ["", "http://x y"]),
    "canonical": (["http://x/y|1"], ["", "a b"]),
    "oid": (["urn:oid:1.2.3", "urn:oid:2.16.840"], ["1.2.3", "urn:oid:3.1", "urn:oid:1.02", ""]),
    "uuid": ([UUID], [UUID.upper(), UUID[9:], UUID + "0", ""]),
    "date": (
        ["2020", "2020-02", "2020-02-29", "0001-01-01", "9999-12-31", "1900-02-28"],
        ["", "20", "02020", "0000", "2020-13", "2020-00", "2020-1", "2020-02-30", "2019-02-29",
         "1900-02-29", "2020-04-31", "2020-02-00", "2020-02-29T00:00:00Z", "2020-02-29\n", 2020],
    ),
    "dateTime": (
        ["2020", "2020-02", "2020-02-29", "2020-02-29T23:59:60Z",
         "2020-02-29T00:00:00.123456+14:00", "2020-02-29T00:00:00-00:00"],
        ["2020-02-29T24:00:00Z", "2020-02-29T00:00:00", "2020-02-29T00:00Z", "2020-02-29 00:00:00Z",
         "2020-02-30T00:00:00Z", "2020-02-29T00:00:00+14:01", "2020-02-29T00:00:00.Z",
         "2020-02T00:00:00Z", "2020-02-29T00:60:00Z", "2020-02-29t00:00:00z", "\uff12020"],
    ),
    "instant": (
        ["2020-02-29T00:00:00Z", "2020-02-29T00:00:00.1+01:00"],
        ["2020", "2020-02-29", "2020-02-29T00:00:00", "2020-02-30T00:00:00Z", ""],
    ),
    "time": (["00:00:00", "23:59:60", "12:00:00.5"], ["12:00", "24:00:00", "12:00:00Z", ""]),
    "base64Binary": (
        ["QQ==", "QUI=", "QUJD", "QU\nJD", base64.b64encode(bytes(100_000)).decode()],
        ["", "Q", "QQ=", "QQ", "=QQ=", "Q Q", "QU_D", "QQ==QQ==", "ä", 1],
    ),
    "xhtml": (["<div></div>", "\n<div xmlns='x'/>"], ["", "<p/>", "div", 1]),
}  # fmt: skip


@pytest.fixture(params=VALUES)
def kind(request):
    return request.param


def test_values_of_a_type_pass(definitions, kind):
    check = primitive_check(definitions.types[kind])
    for value in VALUES[kind][0]:
        assert check(value) is None, str(value)[:40]


def test_other_values_do_not(definitions, kind):
    check = primitive_check(definitions.types[kind])
    for value in VALUES[kind][1]:
        problems = check(value)
        assert problems is not None and len(problems) == 1, str(value)[:40]
        is_type = type(value) in (type(VALUES[kind][0][0]), float)
        assert problems[0].code in ("structure", "value")
        assert problems[0].code == "value" or not is_type or kind == "integer" or "Int" in kind


def test_every_primitive_type_has_its_values_here(definitions):
    primitives = {one.name for one in definitions.types.values() if one.kind == "primitive"}
    assert set(VALUES) == primitives


def test_long_text_is_checked_in_time_that_grows_with_it(definitions):
    """The published pattern of base64 would not come to an end."""
    check = primitive_check(definitions.types["base64Binary"])
    assert check("QUJD" + " " * 100_000 + "!") is not None
    check = primitive_check(definitions.types["code"])
    assert check("a " * 100_000) is not None
