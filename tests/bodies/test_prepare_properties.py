"""Whatever JSON a resource is, its members keep their bytes."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ResourceInvalid
from engine.fhir.body import prepare

LIMIT = 1 << 20
INSTANT = "2026-11-21T01:40:00.123Z"
OWN = {"resourceType", "id", "meta"}


def spelled(text: str, escape: list[bool]) -> bytes:
    """A JSON string, some of its characters as escapes."""
    out = []
    for at, char in enumerate(text):
        if escape and escape[at % len(escape)]:
            units = char.encode("utf-16-be")
            out += [f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)]
        else:
            out.append(json.dumps(char, ensure_ascii=False)[1:-1])
    return f'"{"".join(out)}"'.encode()


names = st.text(st.characters(codec="utf-8"), max_size=6)
strings = st.builds(
    spelled, st.text(st.characters(codec="utf-8"), max_size=12), st.lists(st.booleans(), max_size=4)
)
numbers = st.from_regex(
    rb"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?", fullmatch=True
)
blanks = st.sampled_from([b"", b" ", b"\n\t", b" \r\n"])


@st.composite
def objects(draw, values, own=()):
    """The text of an object whose members have different names."""
    keys = draw(st.lists(names.filter(lambda n: n not in OWN), unique=True, max_size=4))
    members = [
        spelled(k, draw(st.lists(st.booleans(), max_size=3)))
        + draw(blanks)
        + b":"
        + draw(blanks)
        + draw(values)
        for k in keys
    ]
    members += own
    members = draw(st.permutations(members))
    gap = draw(blanks)
    return b"{" + gap + (b"," + gap).join(members) + draw(blanks) + b"}"


values = st.recursive(
    st.one_of(strings, numbers, st.sampled_from([b"true", b"false", b"null"])),
    lambda inner: st.one_of(
        objects(inner),
        st.lists(inner, max_size=3).map(lambda items: b"[" + b" , ".join(items) + b"]"),
    ),
    max_leaves=8,
)


@st.composite
def resources(draw):
    own = [b'"resourceType":"Basic"', b'"id" : "a"']
    if draw(st.booleans()):
        server = draw(
            st.lists(st.sampled_from([b'"versionId":"9"', b'"lastUpdated":"x"']), unique=True)
        )
        own.append(b'"meta":' + draw(objects(values, server)))
    return draw(objects(values, own))


def raw_members(text: bytes) -> dict[str, bytes]:
    decoded = msgspec.json.decode(msgspec.json.format(text, indent=-1), type=dict[str, msgspec.Raw])
    return {key: bytes(value) for key, value in decoded.items()}


@settings(max_examples=60, deadline=None, database=None)
@given(resources())
def test_stored_body_says_what_was_sent_but_for_the_servers_two_values(raw):
    sent = json.loads(raw)
    kept = json.loads(prepare(raw, bytes_max=LIMIT).body(7, INSTANT))
    assert kept["meta"].pop("versionId") == "7"
    assert kept["meta"].pop("lastUpdated") == INSTANT
    meta = sent.pop("meta", {})
    assert kept.pop("meta") == {
        k: v for k, v in meta.items() if k not in ("versionId", "lastUpdated")
    }
    assert kept == sent


@settings(max_examples=60, deadline=None, database=None)
@given(resources())
def test_every_other_member_keeps_its_bytes_and_its_place(raw):
    sent = raw_members(raw)
    kept = raw_members(prepare(raw, bytes_max=LIMIT).body(7, INSTANT))
    assert [key for key in kept if key in sent] == list(sent)
    assert {k: v for k, v in kept.items() if k != "meta"} == {
        k: v for k, v in sent.items() if k != "meta"
    }
    meta = raw_members(kept["meta"])
    for key, value in raw_members(sent.get("meta", b"{}")).items():
        assert key in ("versionId", "lastUpdated") or meta[key] == value


@settings(max_examples=60, deadline=None, database=None)
@given(resources())
def test_preparing_a_stored_body_again_changes_nothing(raw):
    once = prepare(raw, bytes_max=LIMIT)
    assert prepare(once.body(7, INSTANT), bytes_max=LIMIT) == once


@settings(max_examples=60, deadline=None, database=None)
@given(resources(), st.integers(min_value=0), st.binary(min_size=1, max_size=3))
def test_damage_is_refused_or_leaves_sound_json(raw, place, noise):
    at = place % len(raw)
    damaged = raw[:at] + noise + raw[at + 1 :]
    try:
        body = prepare(damaged, bytes_max=LIMIT).body(7, INSTANT)
    except ResourceInvalid:
        return
    assert json.loads(body)["resourceType"]
