"""Links: which strings of a resource are rewritten, and that nothing else is."""

import json

import pytest

from engine.bundles.entry import Entry, Method
from engine.bundles.names import Answers, Links, Placeholders
from engine.fhir.body import minified
from engine.fhir.definitions.load import load_definitions
from engine.fhir.members import members
from engine.fhir.references import LinkRewriter

REWRITER = LinkRewriter(load_definitions())
A, B = "urn:uuid:a", "http://source.example/fhir/Patient/7"
NAMES = ("Patient/new", "Patient/seven", "Patient/eight")


def written(number: int, full_url: str, **more: object) -> Entry:
    return Entry(number=number, method=Method.POST, url="Patient", full_url=full_url, **more)


ENTRIES = (
    written(0, A),
    written(1, B),
    Entry(
        number=2,
        method=Method.PUT,
        url="Patient/eight",
        id="eight",
        full_url="http://source.example/fhir/Patient/8",
    ),
)


def rewritten(text: bytes, *, under: str = "") -> bytes:
    placeholders = Placeholders(ENTRIES)
    links = Links(placeholders, written(9, under), Answers(NAMES))
    type = json.loads(text)["resourceType"]
    return REWRITER.rewritten(type, text, links, marks=placeholders.marks)


def resource(type: str, **more: object) -> bytes:
    return minified(json.dumps({"resourceType": type, **more}).encode())


@pytest.mark.parametrize(
    "text",
    [
        resource("Observation", subject={"reference": A}),
        resource("Patient", photo=[{"url": A}]),
        resource("PlanDefinition", library=["x"], relatedArtifact=[{"url": A}]),
        resource("Communication", instantiatesUri=[A, "x"]),
        resource("Patient", extension=[{"url": "x", "valueUri": A}]),
        resource("Patient", extension=[{"url": "x", "valueUuid": A}]),
        resource("Patient", extension=[{"url": "x", "valueUrl": A}]),
        resource("Patient", extension=[{"url": "x", "valueReference": {"reference": A}}]),
        resource("Patient", _birthDate={"extension": [{"url": "x", "valueUri": A}]}),
        resource(
            "Patient", name=[{"_given": [None, {"extension": [{"url": "x", "valueUri": A}]}]}]
        ),
        resource("List", contained=[{"resourceType": "Patient", "photo": [{"url": A}]}]),
        resource("List", contained=[{"resourceType": "Task", "focus": {"reference": A}}]),
        resource("DetectedIssue", reference=A),
    ],
    ids=lambda text: text[:80].decode(),
)
def test_rewrites_links_by_the_type_of_their_element(text):
    assert rewritten(text) == text.replace(A.encode(), b"Patient/new")
    assert rewritten(text) != text


@pytest.mark.parametrize(
    "text",
    [
        resource("Communication", instantiatesCanonical=[A]),
        resource("Patient", extension=[{"url": "x", "valueCanonical": A}]),
        resource("Patient", extension=[{"url": A, "valueString": A}]),
        resource("Patient", extension=[{"url": "x", "valueOid": "urn:oid:1"}]),
        resource("Patient", identifier=[{"value": A}]),
        resource("Observation", subject={"display": A}),
        resource("ValueSet", url=A),
        resource("Patient", meta={"profile": [A]}),
        resource("Observation", note=[{"text": f'<a href="{A}">x</a>'}]),
        resource("Patient", nonsense={"url": A}),
        resource("Bundle", entry=[{"fullUrl": A, "resource": {"resourceType": "Patient"}}]),
        resource("Observation", subject={"reference": f"{A}b"}),
        resource("Observation", subject={"reference": "#p"}),
        resource("Observation", subject={"reference": "Patient/7"}),
        resource("Observation", **{'a"reference': A}),
        resource("Observation", note=[{"text": f'"reference":"{A}"'}]),
    ],
    ids=lambda text: text[:80].decode(),
)
def test_leaves_what_is_no_link(text):
    assert rewritten(text) == text


def test_rewrites_the_links_of_narratives_and_nothing_else_of_them():
    div = (
        '<div xmlns="http://www.w3.org/1999/xhtml"><p title="urn:uuid:a">urn:uuid:a &amp; é</p>'
        "<a class='x' href=\"urn:uuid:a\">y</a><img alt='href=\"urn:uuid:a\"' src='urn:uuid:a'/>"
        '<a href="urn:uuid:ab">z</a><b href="urn:uuid:a">w</b></div>'
    )
    text = resource("Patient", text={"status": "generated", "div": div})
    expected = div.replace('" href="urn:uuid:a"', '" href="Patient/new"')
    expected = expected.replace("'x' href=\"urn:uuid:a\"", "'x' href=\"Patient/new\"")
    expected = expected.replace("src='urn:uuid:a'", "src='Patient/new'")
    assert json.loads(rewritten(text))["text"]["div"] == expected
    assert b"\\u00e9" in text and b"\\u00e9" in rewritten(text)  # escapes stay


@pytest.mark.parametrize(
    "spelled", ["urn:uuid\\u003aa", "\\u0075rn:uuid:a", "http:\\/\\/source.example/fhir/Patient/7"]
)
def test_escapes_hide_no_link(spelled):
    name = "Patient/seven" if "http" in spelled else "Patient/new"
    for text in (
        f'{{"resourceType":"Observation","subject":{{"reference":"{spelled}"}},"a":"\\u00e9"}}',
        f'{{"resourceType":"Patient","photo":[{{"url":"{spelled}"}}],"a":"\\u00e9"}}',
    ):
        assert rewritten(text.encode()).decode() == text.replace(spelled, name)
    div = f"<div><a href=\\u0022{spelled}\\u0022>\\u003cb\\u003e</a></div>"
    text = f'{{"resourceType":"Patient","text":{{"div":"{div}"}}}}'
    assert rewritten(text.encode()).decode() == text.replace(spelled, name)


def test_a_relative_link_is_under_the_address_of_its_own_entry():
    text = resource("Observation", subject={"reference": "Patient/7"})
    under = "http://source.example/fhir/Observation/1"
    assert rewritten(text, under=under) == text.replace(b"Patient/7", b"Patient/seven")
    assert rewritten(text, under="http://other.example/Observation/1") == text
    absolute = resource("Observation", subject={"reference": f"{B}#part"})
    assert rewritten(absolute) == absolute.replace(B.encode(), b"Patient/seven")


def test_what_keeps_its_address_is_made_local_only_in_references():
    address = "http://source.example/fhir/Patient/8"
    text = resource("Observation", subject={"reference": address})
    assert rewritten(text) == text.replace(address.encode(), b"Patient/eight")
    text = resource("Patient", photo=[{"url": address}])
    assert rewritten(text) == text


def test_many_addresses_are_found_too():
    entries = [written(n, f"http://s{n}.example/{n}/Patient/1") for n in range(100)]
    placeholders = Placeholders(entries)
    links = Links(placeholders, written(200, ""), Answers([f"Patient/{n}" for n in range(100)]))
    text = resource("Patient", photo=[{"url": "http://s42.example/42/Patient/1"}])
    found = REWRITER.rewritten("Patient", text, links, marks=placeholders.marks)
    assert json.loads(found)["photo"] == [{"url": "Patient/42"}]


@pytest.mark.parametrize(
    "text",
    [b"{}", b'{"a":1}', b'{"a":"}","b":{"c":[1,2]}}', b'{"\\u0061":"x","b":2}', b'{"a":1,"a":22}'],
)
def test_members_are_found_where_they_lie(text):
    found = members(text)
    pieces = [text[one.at : one.end] for one in found]
    assert b"{%b}" % b",".join(pieces) == text
    for one in found:
        assert json.loads(text[one.at : one.start - 1]) == one.name
        json.loads(text[one.start : one.end])
