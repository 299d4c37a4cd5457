"""One resource is checked and split, with its bytes left alone (DESIGN 6, promise 7)."""

import json

import pytest

from engine.errors import ResourceInvalid, ResourceTooLarge
from engine.fhir.body import DEPTH_MAX, prepare
from engine.fhir.ids import SOURCE_UPDATED_URL, SOURCE_VERSION_URL

LIMIT = 1 << 20
INSTANT = "2026-11-21T01:40:00.123Z"


def stored(raw: bytes, **asked) -> bytes:
    return prepare(raw, bytes_max=LIMIT, **asked).body(7, INSTANT)


def refusal(raw: bytes, **asked) -> str:
    with pytest.raises(ResourceInvalid) as caught:
        prepare(raw, **{"bytes_max": LIMIT} | asked)
    return str(caught.value)


def nested(levels: int) -> bytes:
    """A resource whose containers are that deep, itself included."""
    return b'{"resourceType":"Basic","id":"a","x":%b%b}' % (
        b"[" * (levels - 1),
        b"]" * (levels - 1),
    )


def test_version_and_time_come_first_in_meta():
    body = stored(b'{"resourceType":"Patient","id":"a","meta":{"source":"s"},"active":true}')
    assert body == (
        b'{"resourceType":"Patient","id":"a","meta":{"versionId":"7","lastUpdated":"'
        b'2026-11-21T01:40:00.123Z","source":"s"},"active":true}'
    )


def test_meta_is_put_after_the_id_where_there_is_none():
    body = stored(b'{"resourceType":"Patient","id":"a","active":true}')
    assert body.startswith(b'{"resourceType":"Patient","id":"a","meta":{"versionId":"7",')
    assert body.endswith(b'"},"active":true}')


def test_asked_id_is_put_after_the_type():
    body = stored(b'{"active":true,"resourceType":"Patient","meta":{}}', id="b", type="Patient")
    assert body.startswith(b'{"active":true,"resourceType":"Patient","id":"b","meta":{"versionId"')


def test_meta_stays_where_it_is_also_at_the_end():
    body = stored(b'{"id":"a","active":true,"resourceType":"Patient","meta":{"tag":[]}}')
    assert body.startswith(b'{"id":"a","active":true,"resourceType":"Patient","meta":{"versionId":')
    assert body.endswith(b'","tag":[]}}')


def test_senders_version_and_time_go():
    body = stored(
        b'{"resourceType":"Patient","id":"a","meta":'
        b'{"profile":["p"],"versionId":"99","tag":[],"lastUpdated":"2001-01-01T00:00:00Z"}}'
    )
    assert body.endswith(b'"lastUpdated":"2026-11-21T01:40:00.123Z","profile":["p"],"tag":[]}}')
    assert b"99" not in body and b"2001" not in body


def test_numbers_escapes_and_order_stay_as_sent():
    rest = (
        b'"z":1.50,"a":[-0.0,1E+2,12345678901234567890.10],"s":"\\u00e9\\/\\ud83d\\ude00 \xc3\xa9"'
    )
    assert stored(b'{"resourceType":"Basic","id":"a",%b}' % rest).endswith(b'"},%b}' % rest)


def test_white_space_between_tokens_goes_and_in_strings_stays():
    body = stored(b' {\r\n "resourceType" : "Basic",\t"id":"a", "s" : " x  y " , "n":[ 1 , 2 ] } ')
    assert body.endswith(b'"},"s":" x  y ","n":[1,2]}')


def test_escaped_names_of_members_are_understood_and_kept():
    raw = b'{"resource\\u0054ype":"Basic","i\\u0064":"a","m\\u0065ta":{"version\\u0049d":"9"},"":1}'
    assert stored(raw) == (
        b'{"resource\\u0054ype":"Basic","i\\u0064":"a","m\\u0065ta":{"versionId":"7",'
        b'"lastUpdated":"2026-11-21T01:40:00.123Z"},"":1}'
    )


def test_type_and_id_may_be_spelled_with_escapes():
    ready = prepare(b'{"resourceType":"B\\u0061sic","id":"\\u0061"}', bytes_max=LIMIT)
    assert (ready.type, ready.id) == ("Basic", "a")


def test_source_version_and_time_are_kept_on_request():
    meta = b'{"versionId":"3","lastUpdated":"2001-01-01T00:00:00Z"}'
    raw = b'{"resourceType":"Basic","id":"a","meta":%b}' % meta
    meta = json.loads(stored(raw, keep_source=True))["meta"]
    assert meta["versionId"] == "7"
    assert meta["extension"] == [
        {"url": SOURCE_VERSION_URL, "valueId": "3"},
        {"url": SOURCE_UPDATED_URL, "valueInstant": "2001-01-01T00:00:00Z"},
    ]


@pytest.mark.parametrize("before", [b"[]", b'[{"url":"u","valueString":"x"}]'])
def test_source_version_is_appended_to_the_extensions_there_are(before):
    raw = b'{"resourceType":"Basic","id":"a","meta":{"extension":%b,"versionId":"3","tag":[1]}}'
    meta = json.loads(stored(raw % before, keep_source=True))["meta"]
    assert meta["extension"] == [
        *json.loads(before),
        {"url": SOURCE_VERSION_URL, "valueId": "3"},
    ]
    assert meta["tag"] == [1]


def test_without_a_version_of_its_own_nothing_is_kept_of_the_source():
    raw = b'{"resourceType":"Basic","id":"a","meta":{"tag":[1]}}'
    assert stored(raw, keep_source=True) == stored(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"  \t ", "is empty"),
        (b'{"resourceType":"Basic","id":"a"', "ends too early"),
        (b'{"resourceType":"Basic","id":"a",}', "near byte 34: trailing comma in object"),
        (b'{"resourceType":"Basic","id":"a"} x', "near byte 36: trailing characters"),
        (b'{"resourceType":"Basic","id":"a","x":01}', "near byte 39: invalid number"),
        (b'{"resourceType":"Basic","id":"a","x":"\x01"}', "near byte 39: invalid character"),
        (b'{"resourceType":"Basic","id":"a","x":{"y":NaN}}', "NaN and Infinity"),
        (b'{"resourceType":"Basic","id":"a","x":[-Infinity]}', "NaN and Infinity"),
        (b'{"resourceType":"Basic","id":"a","x":Infinity}', "NaN and Infinity"),
        (b"[]", "not an object"),
        (b'"text"', "not an object"),
        (b'\xef\xbb\xbf{"resourceType":"Basic","id":"a"}', "byte order mark"),
        (b'{"resourceType":"Basic","id":"a","x":{"y":"\xff"}}', "not UTF-8 at byte 44"),
        (b'{"resourceType":"Basic","id":"a","x":"\xed\xa0\x80"}', "not UTF-8 at byte 39"),
        (b'{"resourceType":"Basic","id":"a","\xc3(":1}', "not UTF-8 at byte 35"),
        (b'{"resourceType":"Basic","id":"a","id":"b"}', "'id' comes twice in the resource"),
        (b'{"resourceType":"Basic","id":"a","i\\u0064":"b"}', "'id' comes twice in the resource"),
        (b'{"resourceType":"Basic","id":"a","A B":1,"A B":2}', "a member with an unusual name"),
        (
            b'{"resourceType":"Basic","id":"a","meta":{"tag":[],"tag":[]}}',
            "'tag' comes twice in meta",
        ),
        (b'{"resourceType":"Basic","id":"a","meta":[]}', "meta is not an object"),
        (b'{"resourceType":"Basic","id":"a","meta":null}', "meta is not an object"),
        (b"{}", "has no resourceType"),
        (b'{"id":"a"}', "has no resourceType"),
        (b'{"resourceType":5,"id":"a"}', "resourceType is not a resource type"),
        (b'{"resourceType":"basic","id":"a"}', "resourceType is not a resource type"),
        (b'{"resourceType":"Ba_sic","id":"a"}', "resourceType is not a resource type"),
        (b'{"resourceType":"Basic"}', "has no id"),
        (b'{"resourceType":"Basic","id":null}', "id is not 1 to 64 letters"),
        (b'{"resourceType":"Basic","id":""}', "id is not 1 to 64 letters"),
        (b'{"resourceType":"Basic","id":"a b"}', "id is not 1 to 64 letters"),
        (b'{"resourceType":"Basic","id":"a\\n"}', "id is not 1 to 64 letters"),
        (b'{"resourceType":"Basic","id":"%b"}' % (b"a" * 65), "id is not 1 to 64 letters"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_reason(raw, message):
    assert message in refusal(raw)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'{\n  "resourceType": "Basic",\n  "x": tru\n}', "line 3, column 9"),
        ('{"a":"ß",\n"é": ,\n}'.encode(), "line 2, column 6"),
        (b'{"a":\n[1,2', "line 2, column 5"),
        (b'{\n"a":"\xff"}', "line 2, column 6"),
        (b'{\r\n"a":NaN}', "line 2, column 5"),
    ],
)
def test_where_json_is_broken_is_said_by_line_and_column(raw, place):
    assert place in refusal(raw)


@pytest.mark.parametrize(
    "text",
    [
        rb'"\udc00"',
        rb'"\ud800"',
        rb'"\ud800x"',
        rb'"\ud800\n"',
        rb'"\uD800\u0041"',
        rb'"\ud800\ud800"',
        rb'"\ud83d\ude00\ude00"',
        rb'"\\\ud800"',
        rb'["x",{"\udc00":1}]',
        rb'{"\ud800":1}',
    ],
)
def test_half_a_surrogate_pair_is_named_wherever_it_stands(text):
    raw = b'{"resourceType":"Basic","id":"a","x":%b}' % text
    assert "half of a surrogate pair" in refusal(raw)


@pytest.mark.parametrize("text", [rb'"\ud83d\ude00"', rb'"\\ud800"', rb'"\\\\udc00"', rb'"\u00e9"'])
def test_whole_pairs_and_escaped_backslashes_are_kept(text):
    raw = b'{"resourceType":"Basic","id":"a","x":%b}' % text
    assert stored(raw).endswith(b',"x":%b}' % text)


def test_a_truncated_line_with_whole_pairs_is_called_truncated():
    assert "ends too early" in refusal(rb'{"resourceType":"Basic","x":"\ud83d\ude00 \\ud800')


def test_nesting_is_allowed_up_to_the_limit_and_not_past_it():
    assert stored(nested(DEPTH_MAX)).endswith(b"]" * (DEPTH_MAX - 1) + b"}")
    assert "nested deeper than 64 levels" in refusal(nested(DEPTH_MAX + 1))


@pytest.mark.parametrize("levels", [500, 5_000, 400_000])
def test_very_deep_nesting_is_refused(levels):
    assert "nested deeper than 64 levels" in refusal(nested(levels))


@pytest.mark.parametrize("text", [b"[" * 200, b"{" * 200, b'\\"[' * 100, b"\\\\" + b"}[" * 99])
def test_brackets_in_strings_are_no_nesting(text):
    assert b'"s":"%b"' % text in stored(b'{"resourceType":"Basic","id":"a","s":"%b"}' % text)


def test_brackets_in_strings_do_not_hide_nesting():
    opened = b'["]",' * DEPTH_MAX + b"1" + b',"["]' * DEPTH_MAX
    assert "nested deeper" in refusal(b'{"resourceType":"Basic","id":"a","x":%b}' % opened)


def test_many_siblings_are_no_nesting():
    many = b",".join([b'{"a":[{}]}'] * 500)
    assert stored(b'{"resourceType":"Basic","id":"a","x":[%b]}' % many).endswith(b"{}]}]}")


def test_a_body_over_the_limit_is_refused_and_one_at_it_is_not():
    raw = b'{"resourceType":"Basic","id":"a"}'
    assert prepare(raw, bytes_max=len(raw)).id == "a"
    with pytest.raises(ResourceTooLarge) as caught:
        prepare(raw, bytes_max=len(raw) - 1)
    assert caught.value.issue_code == "too-long"


def test_body_must_be_of_the_type_and_id_asked_for():
    raw = b'{"resourceType":"Basic","id":"a"}'
    assert stored(raw, type="Basic", id="a") == stored(raw)
    assert "resourceType is Basic where Patient was expected" in refusal(raw, type="Patient")
    assert "has another id than the one asked for" in refusal(raw, id="b")
    assert "the id asked for is not 1 to 64" in refusal(raw, id="../b")


def test_source_values_that_are_no_strings_are_refused_only_where_they_are_kept():
    raw = b'{"resourceType":"Basic","id":"a","meta":{"versionId":3}}'
    assert b"3}" not in stored(raw)
    assert "meta.versionId is not a string" in refusal(raw, keep_source=True)


def test_extensions_that_are_no_array_are_refused_where_one_is_added():
    raw = b'{"resourceType":"Basic","id":"a","meta":{"versionId":"3","extension":{}}}'
    assert "meta.extension is not an array" in refusal(raw, keep_source=True)


def test_no_message_repeats_content():
    for raw in (
        b'{"resourceType":"Basic","id":"Jane Doe"}',
        b'{"resourceType":"Jane Doe","id":"a"}',
        b'{"resourceType":"Basic","id":"a","Jane Doe":1,"Jane Doe":1}',
        b'{"resourceType":"Basic","id":"a","x":"Jane Doe\\ud800"}',
        b'{"resourceType":"Basic","id":"a","x":Jane}',
    ):
        assert "Jane" not in refusal(raw)
