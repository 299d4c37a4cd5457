"""From a resource to its rows in the index (DESIGN 6; R4 search.html)."""

from copy import deepcopy
from datetime import UTC
from functools import cache
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.fhir.search.expressions import Get
from engine.fhir.search.extraction import Indexer, Readers
from engine.fhir.search.keys import IDENTIFIER_SUFFIX, OF_TYPE_SUFFIX, Keys
from engine.fhir.search.readers import DateReader, ReferenceReader, StringReader
from engine.fhir.search.rows import Edge, Rows
from engine.fhir.search.tree import TIME_MAX, TIME_MIN
from engine.fhir.search.values import STRING_CHARACTERS_MAX, date_range
from tests.support.index_rows import BASE, Indexed, r4
from tests.support.package import r4_resources

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
# Types of which the package has hundreds, with little that differs.
FREQUENT = ("SearchParameter-", "ValueSet-", "CodeSystem-", "StructureDefinition-")
BOTH = int(Edge.LEAST | Edge.GREATEST)


@pytest.fixture(scope="module")
def indexed():
    return Indexed()


def observation(**members):
    return {"resourceType": "Observation", "id": "o", **members}


def patient(**members):
    return {"resourceType": "Patient", "id": "p", **members}


# Tokens.


@pytest.mark.parametrize(
    ("members", "path", "tokens"),
    [
        ({"gender": "male"}, "Patient.gender", {("", "male")}),
        ({"active": True}, "Patient.active", {("", "true")}),
        ({"identifier": [{"system": "s", "value": "v"}]}, "Patient.identifier", {("s", "v")}),
        ({"identifier": [{"value": "v"}]}, "Patient.identifier", {("", "v")}),
        ({"identifier": [{"system": "s"}]}, "Patient.identifier", {("s", "")}),
        ({"identifier": [{}]}, "Patient.identifier", set()),
        ({"telecom": [{"system": "phone", "value": "1"}]}, "Patient.telecom", {("", "1")}),
        (
            {"communication": [{"language": {"text": "German"}}]},
            "Patient.communication.language",
            set(),
        ),
        ({"meta": {"tag": [{"system": "t", "code": "c"}]}}, "Resource.meta.tag", {("t", "c")}),
        ({"meta": {"source": "urn:x"}}, "Resource.meta.source", {("", "urn:x")}),
        ({"_gender": {"extension": [{"url": "x", "valueCode": "male"}]}}, "Patient.gender", set()),
    ],
)
def test_a_token_is_its_system_and_code(indexed, members, path, tokens):
    found = indexed.tokens(patient(**members))
    assert {(system, code) for name, system, code in found if name == path} == tokens


def test_each_coding_of_a_concept_is_a_token(indexed):
    code = {"coding": [{"system": LOINC, "code": "a"}, {"code": "b"}, {"system": "s"}], "text": "t"}
    found = indexed.tokens(observation(code=code))
    tokens = {(system, code) for name, system, code in found if name == "Observation.code"}
    assert tokens == {(LOINC, "a"), ("", "b"), ("s", "")}


def test_a_telecom_is_found_by_its_system_only_if_it_has_it(indexed):
    contacts = [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}]
    found = indexed.tokens(patient(telecom=contacts))
    assert ("Patient.telecom.where(system='phone')", "", "1") in found
    assert ("Patient.telecom.where(system='phone')", "", "2") not in found
    assert ("Patient.telecom.where(system='email')", "", "2") in found


def test_a_versioned_canonical_is_found_with_its_version_and_without(indexed):
    found = indexed.tokens(patient(meta={"profile": ["http://x/a|1", "http://x/b"]}))
    assert {code for name, _, code in found if name == "Resource.meta.profile"} == {
        "http://x/a|1",
        "http://x/a",
        "http://x/b",
    }


def test_an_identifier_with_a_type_has_a_posting_of_its_own(indexed):
    type = {"coding": [{"system": "ts", "code": "MR"}]}
    rows = indexed.rows(patient(identifier=[{"type": type, "system": "s", "value": "v"}]))
    path = indexed.numbers["Patient.identifier" + OF_TYPE_SUFFIX]
    k = indexed.keys.typed_identifier(path, "ts", "MR", "v")
    assert k in rows.tokens
    assert k not in {term.k for term in rows.terms}


def test_every_posting_of_the_dictionary_is_its_hash(indexed):
    for term in indexed.rows(patient(gender="male", active=False)).terms:
        assert term.k == indexed.keys.term(term.path, term.system, term.code)


def test_a_patient_without_a_word_of_it_is_not_deceased(indexed):
    tokens = {token for token in indexed.tokens(patient()) if "deceased" in token[0]}
    assert {code for _, _, code in tokens} == {"false"}


# Strings.


def test_every_part_of_a_name_is_a_string(indexed):
    name = {"family": "Müller", "given": ["Eve", "B"], "prefix": ["Dr."], "text": "Dr. Eve"}
    rows = indexed.rows(patient(name=[name, {"given": ["Eve"]}]))
    assert [row[:2] for row in indexed.at(rows.strings, "Patient.name")] == [
        ("b", "B"),
        ("dr.", "Dr."),
        ("dr. eve", "Dr. Eve"),
        ("eve", "Eve"),
        ("muller", "Müller"),
    ]


def test_every_part_of_an_address_is_a_string(indexed):
    address = {"line": ["Straße 1"], "city": "Ulm", "postalCode": "89073", "use": "home"}
    rows = indexed.rows(patient(address=[address]))
    assert [row[0] for row in indexed.at(rows.strings, "Patient.address")] == [
        "89073",
        "strasse 1",
        "ulm",
    ]


def test_a_long_string_takes_a_bounded_row(indexed):
    rows = indexed.rows(patient(name=[{"family": "X" * 5000}]))
    ((normalized, as_written, _),) = indexed.at(rows.strings, "Patient.name.family")
    assert len(normalized) == len(as_written) == STRING_CHARACTERS_MAX


# References.


@pytest.mark.parametrize(
    "text",
    ["Patient/1", "Patient/1/_history/2", f"{BASE}/Patient/1", f"{BASE}/Patient/1/_history/2"],
)
def test_a_local_reference_means_type_and_id_however_it_is_written(indexed, text):
    resource = observation(subject={"reference": text})
    name = "Observation.subject.where(resolve() is Patient)"
    assert indexed.targets(resource, name) == {indexed.keys.target("Patient", "1")}


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("urn:uuid:1", {"urn:uuid:1"}),
        ("http://other/fhir/Group/1", {"http://other/fhir/Group/1"}),
        (
            "http://other/fhir/Group/1/_history/2",
            {"http://other/fhir/Group/1", "http://other/fhir/Group/1/_history/2"},
        ),
        (f"{BASE}2/Group/1", {f"{BASE}2/Group/1"}),
        (f"{BASE}/other/Group/1", {f"{BASE}/other/Group/1"}),
        (f"{BASE}/Nothing/1", {f"{BASE}/Nothing/1"}),
    ],
)
def test_another_reference_means_its_url(indexed, text, urls):
    resource = observation(subject={"reference": text})
    assert indexed.targets(resource, "Observation.subject") == set(map(indexed.keys.url, urls))


@pytest.mark.parametrize(
    "reference",
    [
        *[
            {"reference": "#p"},
            {"display": "x"},
            {"reference": "nonsense"},
            {"reference": 1},
            {},
            "x",
        ],
        *[{"reference": "Nothing/1"}, {"reference": ""}, {"reference": "Patient?identifier=1"}],
    ],
)
def test_what_leads_nowhere_has_no_row(indexed, reference):
    assert indexed.rows(observation(subject=reference)).references == ()


def test_references_to_a_type_that_a_parameter_asks_for_stand_apart(indexed):
    patient_path = "Observation.subject.where(resolve() is Patient)"
    to_patient = observation(subject={"reference": "Patient/1"})
    to_group = observation(subject={"reference": "Group/1"})
    assert indexed.targets(to_patient, "Observation.subject") == set()
    assert indexed.targets(to_group, "Observation.subject") == {indexed.keys.target("Group", "1")}
    assert indexed.targets(to_group, patient_path) == set()
    named = observation(subject={"reference": "urn:uuid:1", "type": "Patient"})
    assert indexed.targets(named, patient_path) == {indexed.keys.url("urn:uuid:1")}


def test_the_paths_of_a_parameter_say_which_types_they_hold(indexed):
    subject = indexed.search.parameter("Observation", "subject")
    narrow = indexed.search.parameter("Observation", "patient")
    assert [path.name for path in subject.paths if path.holds("Group")] == ["Observation.subject"]
    assert [path for path in subject.paths if path.holds("Patient")] == list(narrow.paths)
    assert narrow.targets == ("Patient",)
    assert not narrow.paths[0].holds("Group")


def test_a_references_own_identifier_is_a_token(indexed):
    logical = {"identifier": {"system": "s", "value": "v"}}
    assert ("Observation.subject" + IDENTIFIER_SUFFIX, "s", "v") in indexed.tokens(
        observation(subject=logical)
    )
    typed = {**logical, "type": "Patient"}
    assert (
        "Observation.subject.where(resolve() is Patient)" + IDENTIFIER_SUFFIX,
        "s",
        "v",
    ) in indexed.tokens(observation(subject=typed))


def test_a_canonical_reference_is_found_with_its_version_and_without(indexed):
    resource = {"resourceType": "QuestionnaireResponse", "questionnaire": "http://x/q|1"}
    assert indexed.targets(resource, "QuestionnaireResponse.questionnaire") == {
        indexed.keys.url("http://x/q|1"),
        indexed.keys.url("http://x/q"),
    }


@pytest.mark.parametrize("kinds", [("Composition", "List"), ("Composition",)])
def test_the_first_resource_of_a_bundle_is_what_it_refers_to(indexed, kinds):
    entries = [{"resource": {"resourceType": kind, "id": kind}} for kind in kinds]
    bundle = {"resourceType": "Bundle", "entry": entries}
    assert indexed.targets(bundle, "Bundle.entry[0].resource") == {
        indexed.keys.target("Composition", "Composition")
    }


# Dates.

DATES = "Observation.effective"


@pytest.mark.parametrize(
    ("members", "start", "end"),
    [
        ({"effectiveDateTime": "2020"}, "2020", "2020"),
        ({"effectiveInstant": "2020-01-01T00:00:00Z"},) + ("2020-01-01T00:00:00Z",) * 2,
        ({"effectivePeriod": {"start": "2020", "end": "2021-02"}}, "2020", "2021-02"),
        ({"effectiveTiming": {"event": ["2021", "2019-05", "x"]}}, "2019-05", "2021"),
        (
            {"effectiveTiming": {"event": ["2021"], "repeat": {"boundsPeriod": {"end": "2022"}}}},
            None,
            "2022",
        ),
        ({"effectivePeriod": {"start": "2020"}}, "2020", None),
    ],
)
def test_a_date_is_the_range_it_means(indexed, members, start, end):
    rows = indexed.rows(observation(**members))
    lo = date_range(start, UTC)[0] if start else TIME_MIN
    hi = date_range(end, UTC)[1] if end else TIME_MAX
    assert indexed.at(rows.dates, DATES) == [(lo, hi, BOTH)]


@pytest.mark.parametrize(
    "members",
    [
        {"effectiveDateTime": "2020-13"},
        {"effectiveDateTime": 2020},
        {"effectivePeriod": {}},
        {"effectivePeriod": {"start": "2020", "end": "x"}},
        {"effectivePeriod": {"start": "2020", "end": "2019"}},
        {"effectiveTiming": {"event": "2020"}},
    ],
)
def test_what_is_no_date_has_no_row(indexed, members):
    assert indexed.rows(observation(**members)).dates == ()


def test_dates_without_a_zone_are_in_the_tenants():
    zone = ZoneInfo("America/New_York")
    indexed = Indexed(zone=zone)
    rows = indexed.rows(observation(effectiveDateTime="2020-07-01"))
    assert indexed.at(rows.dates, DATES) == [(*date_range("2020-07-01", zone), BOTH)]


# Numbers and quantities.

VALUE = "Observation.value.ofType(Quantity)"


def test_a_quantity_is_its_value_and_its_unit(indexed):
    quantity = {"value": 5, "system": UCUM, "code": "mg", "unit": "milligram"}
    rows = indexed.rows(observation(valueQuantity=quantity))
    u = indexed.keys.unit(indexed.numbers[VALUE], UCUM, "mg", "milligram")
    assert indexed.at(rows.quantities, VALUE) == [(u, 5.0, BOTH)]
    assert (UCUM, "mg", "milligram") in {(x.system, x.code, x.unit) for x in rows.units if x.u == u}


def test_both_ends_of_a_range_are_quantities(indexed):
    onset = {"low": {"value": 10, "code": "a"}, "high": {"value": 20, "code": "a"}}
    rows = indexed.rows({"resourceType": "Condition", "onsetRange": onset})
    found = indexed.at(rows.quantities, "Condition.onset.ofType(Range)")
    assert [(value, edge) for _, value, edge in found] == [(10, Edge.LEAST), (20, Edge.GREATEST)]


def test_money_has_its_currency_as_unit(indexed):
    money = {"value": 1.5, "currency": "EUR"}
    rows = indexed.rows({"resourceType": "Invoice", "totalNet": money})
    assert [(unit.system, unit.code) for unit in rows.units] == [("urn:iso:std:iso:4217", "EUR")]


@pytest.mark.parametrize("value", ["5", None, True, [1], {"x": 1}])
def test_what_is_no_number_has_no_row(indexed, value):
    assert indexed.rows(observation(valueQuantity={"value": value})).quantities == ()


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400])
def test_numbers_that_no_double_holds_are_passed_over_and_the_rest_is_found(indexed, number):
    body = b'{"resourceType":"Observation","status":"final","valueQuantity":{"value":%b}}'
    rows = indexed.search.rows("Observation", body % number.encode())
    assert rows.quantities == ()
    assert len(rows.tokens) == 1


# Edges.


def test_the_least_and_the_greatest_value_of_a_path_are_marked_once(indexed):
    names = [{"family": "B"}, {"family": "a"}, {"family": "C"}, {"family": "c"}]
    found = indexed.at(indexed.rows(patient(name=names)).strings, "Patient.name.family")
    assert [(text, edge) for _, text, edge in found] == [
        ("a", Edge.LEAST),
        ("B", Edge.NONE),
        ("C", Edge.NONE),
        ("c", Edge.GREATEST),
    ]


def test_edges_of_quantities_go_by_value_whatever_the_unit(indexed):
    components = [
        {"valueQuantity": {"value": value, "code": code}}
        for value, code in ((3, "a"), (1, "b"), (2, "c"))
    ]
    rows = indexed.rows(observation(component=components))
    name = "Observation.component.value.ofType(Quantity)"
    assert {value: edge for _, value, edge in indexed.at(rows.quantities, name)} == {
        1: Edge.LEAST,
        2: Edge.NONE,
        3: Edge.GREATEST,
    }


# Composites.


def composite_key(indexed, parameter, place, *tokens):
    path = parameter.paths[place].name
    terms = [
        indexed.keys.term(indexed.numbers[component.paths[place].name], *token)
        for component, token in zip(parameter.components, tokens, strict=False)
    ]
    return indexed.keys.composite(indexed.numbers[path], terms)


def blood_pressure():
    return observation(
        code={"coding": [{"system": LOINC, "code": "bp"}]},
        component=[
            {
                "code": {"coding": [{"system": LOINC, "code": code}]},
                "valueQuantity": {"value": value, "system": UCUM, "code": "mm[Hg]"},
            }
            for code, value in (("sys", 120), ("dia", 80))
        ],
    )


def test_a_systolic_code_never_meets_a_diastolic_value(indexed):
    parameter = indexed.search.parameter("Observation", "component-code-value-quantity")
    rows = indexed.rows(blood_pressure())
    for code, value in (("sys", 120), ("dia", 80)):
        key = composite_key(indexed, parameter, 0, (LOINC, code))
        assert [row[2] for row in rows.quantities if row[0] == key] == [value]


def test_a_combination_meets_in_the_resource_or_in_a_component(indexed):
    parameter = indexed.search.parameter("Observation", "combo-code-value-quantity")
    assert len(parameter.paths) == 2
    assert all(len(component.paths) == 2 for component in parameter.components)
    whole = {**blood_pressure(), "valueQuantity": {"value": 7}}
    rows = indexed.rows(whole)
    in_resource = composite_key(indexed, parameter, 0, (LOINC, "bp"))
    in_component = composite_key(indexed, parameter, 1, (LOINC, "sys"))
    values = {key: value for key, _, value, _ in rows.quantities}
    assert (values[in_resource], values[in_component]) == (7, 120)


def test_components_without_an_order_are_one_posting(indexed):
    parameter = indexed.search.parameter("Group", "characteristic-value")
    group = {
        "resourceType": "Group",
        "characteristic": [{"code": {"coding": [{"code": "a"}]}, "valueBoolean": True}],
    }
    rows = indexed.rows(group)
    assert composite_key(indexed, parameter, 0, ("", "a"), ("", "true")) in rows.tokens
    named = {indexed.name(term.path) for term in rows.terms}
    assert {component.paths[0].name for component in parameter.components} <= named


def test_every_coding_of_one_component_meets_every_one_of_the_other(indexed):
    parameter = indexed.search.parameter("Group", "characteristic-value")
    (code, value) = ([{"code": text} for text in "ab"], [{"code": text} for text in "xyz"])
    characteristic = {"code": {"coding": code}, "valueCodeableConcept": {"coding": value}}
    rows = indexed.rows({"resourceType": "Group", "characteristic": [characteristic]})
    for one in "ab":
        for other in "xyz":
            assert composite_key(indexed, parameter, 0, ("", one), ("", other)) in rows.tokens


def test_a_reference_may_be_a_component(indexed):
    parameter = indexed.search.parameter("DocumentReference", "relationship")
    relates = {"code": "appends", "target": {"reference": "DocumentReference/1"}}
    rows = indexed.rows({"resourceType": "DocumentReference", "relatesTo": [relates]})
    code = indexed.keys.term(indexed.numbers[parameter.components[0].paths[0].name], "", "appends")
    target = indexed.keys.target("DocumentReference", "1")
    path = indexed.numbers[parameter.paths[0].name]
    assert indexed.keys.composite(path, (code, target)) in rows.tokens


# The rows as a whole.


def assert_in_order(rows: Rows) -> None:
    for name in ("tokens", "references", "strings", "dates", "numbers", "quantities"):
        found = getattr(rows, name)
        assert list(found) == sorted(set(found)), name
    assert [term.k for term in rows.terms] == sorted({term.k for term in rows.terms})
    assert [unit.u for unit in rows.units] == sorted({unit.u for unit in rows.units})


def test_rows_of_every_example_are_sorted_and_each_once(indexed):
    for _, body in r4_resources():
        type = msgspec.json.decode(body)["resourceType"]
        rows = indexed.search.rows(type, body)
        assert_in_order(rows)
        units = {unit.u for unit in rows.units}
        assert {u for _, u, _, _ in rows.quantities} == units


@pytest.fixture(scope="module")
def whole(indexed):
    """Makes the rows of a body that is decoded whole."""
    readers = Readers(StringReader(), DateReader(UTC), ReferenceReader([BASE], r4().types))
    decode = msgspec.json.Decoder().decode

    @cache
    def indexer(type: str) -> Indexer:
        return Indexer(r4().plan(type), indexed.numbers, indexed.keys, readers, decode)

    return lambda type, body: indexer(type).rows(body)


def test_what_is_skipped_when_decoding_makes_no_difference(indexed, whole):
    for name, body in r4_resources():
        if not name.startswith(FREQUENT):
            type = msgspec.json.decode(body)["resourceType"]
            assert whole(type, body) == indexed.search.rows(type, body), name


CODING = {"system": "s", "code": "c", "display": "d"}
MEASURE = {"value": 1.5, "system": "s", "code": "c", "unit": "u", "comparator": "<"}
# A value of each type that is read, with more than readers look at.
SAMPLES = {
    "boolean": True,
    "integer": 1,
    "positiveInt": 1,
    "unsignedInt": 1,
    "decimal": 1.5,
    "date": "2020",
    "dateTime": "2020",
    "instant": "2020-01-01T00:00:00Z",
    "Coding": CODING,
    "CodeableConcept": {"coding": [CODING], "text": "t"},
    "Identifier": {"system": "s", "value": "v", "type": {"coding": [CODING]}, "use": "usual"},
    "ContactPoint": {"system": "phone", "value": "1"},
    "HumanName": {"family": "f", "given": ["g"], "use": "usual"},
    "Address": {"line": ["l"], "city": "c", "use": "home"},
    "Reference": {"reference": "Patient/1", "type": "Patient", "identifier": {"value": "v"}},
    "Resource": {"resourceType": "Patient", "id": "1"},
    "Period": {"start": "2020", "end": "2021"},
    "Timing": {"event": ["2020"], "repeat": {"boundsPeriod": {"start": "2019"}}},
    "Money": {"value": 1.5, "currency": "EUR"},
    "Range": {"low": MEASURE, "high": MEASURE},
}
SAMPLES |= dict.fromkeys(("Quantity", "Age", "Duration", "Count", "Distance"), MEASURE)


def merged(before, sample):
    """Both, one inside of the other."""
    if isinstance(before, list):
        return [merged(before[0], sample[0])]
    if isinstance(before, dict) and isinstance(sample, dict):
        return {
            key: merged(before.get(key), sample[key]) if key in sample else before[key]
            for key in {**before, **sample}
        }
    return sample


def put(resource, chain):
    """A sample at the end of a chain, with all that its tests ask for."""
    place = resource
    steps = [step for step in chain.steps if isinstance(step, Get)]
    for step in steps[:-1]:
        inner = place.setdefault(step.key, [{}] if step.many else {})
        place = inner[0] if step.many else inner
    if steps:
        sample = deepcopy(SAMPLES.get(chain.type, "http://x.example/text"))
        last = steps[-1]
        sample = [sample] if last.many else sample
        place[last.key] = merged(place.get(last.key), sample)


@pytest.mark.parametrize("type", r4().types)
def test_every_path_of_a_type_is_decoded(indexed, whole, type):
    plan = r4().plan(type)
    resource = {"resourceType": type}
    for leaf in (*plan.leaves, *plan.references):
        put(resource, leaf.chain)
    body = msgspec.json.encode(resource)
    rows = indexed.search.rows(type, body)
    assert rows == whole(type, body)
    assert rows.tokens


def test_the_same_resource_has_the_same_rows_whatever_was_indexed_before(indexed):
    fresh = Indexed()
    assert fresh.rows(blood_pressure()) == indexed.rows(blood_pressure())


def test_another_secret_makes_other_hashes(indexed):
    other = Indexed(secret=b"another")
    assert not set(other.rows(blood_pressure()).tokens) & set(indexed.rows(blood_pressure()).tokens)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 5000])
def test_what_is_no_resource_has_no_rows(indexed, body):
    assert indexed.search.rows("Observation", body) == Rows()


def test_a_type_that_is_none_has_no_rows(indexed):
    assert indexed.search.rows("Nothing", b'{"status":"final"}') == Rows()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *[
                        "coding",
                        "system",
                        "code",
                        "value",
                        "reference",
                        "identifier",
                        "start",
                        "end",
                    ],
                    *["valueQuantity", "low", "type", "event", "family", "extension", "url"],
                ],
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [
        *[
            "code",
            "subject",
            "status",
            "identifier",
            "component",
            "category",
            "effectivePeriod",
            "meta",
        ],
        *["effectiveDateTime", "effectiveTiming", "valueQuantity", "valueString", "focus", "note"],
    ],
)


@given(st.dictionaries(MEMBERS, JSON, max_size=5))
@settings(max_examples=300)
def test_whatever_a_body_holds_there_is_an_answer(members):
    assert_in_order(INDEXED.rows(observation(**members)))


INDEXED = Indexed()


# Hashes.


@given(
    st.lists(st.tuples(st.integers(0, 20), st.text(max_size=6), st.text(max_size=6)), max_size=9)
)
def test_different_tokens_have_different_signed_hashes(tokens):
    keys = Keys(b"secret")
    hashes = {token: keys.term(*token) for token in tokens}
    assert len(set(hashes.values())) == len(hashes)
    assert all(-(1 << 63) <= k < 1 << 63 for k in hashes.values())


def test_system_and_code_do_not_run_into_each_other():
    keys = Keys(b"secret")
    assert keys.term(1, "a", "bc") != keys.term(1, "ab", "c")
    assert keys.unit(1, "a", "b", "c") != keys.unit(1, "a", "", "bc")
    assert keys.composite(1, (2, 3)) != keys.composite(1, (23,))
    assert keys.target("Patient", "1") != keys.url("Patient/1")
