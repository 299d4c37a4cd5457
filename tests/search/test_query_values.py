"""Values: what is written is what is meant, by the rules of each parameter type."""

from datetime import timedelta, timezone

import pytest

from engine.errors import BadParameter, NotSupported, UnknownParameter
from engine.fhir.search.tree import (
    Compare,
    Composite,
    Ids,
    Instant,
    Listed,
    Missing,
    Modifier,
    Nothing,
    Number,
    Prefix,
    Quantity,
    Reference,
    ReferenceIdentifier,
    Text,
    Token,
    TypedIdentifier,
    Updated,
)
from engine.instant import parse_instant
from tests.support.published_search import BASE_URL, NOW_MS, criterion, parse


def values(type, name, value):
    found = criterion(type, name, value)
    assert isinstance(found, Compare)
    return found.values


def value(type, name, text):
    (only,) = values(type, name, text)
    return only


def ms(text):
    return parse_instant(text, name="expected")


def expect_refusal(type, name, text, error=BadParameter):
    with pytest.raises(error) as caught:
        parse(type, (name, text))
    assert caught.value.expression == name
    return str(caught.value)


# Tokens.


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("final", Token(None, "final")),
        ("http://loinc.org|1-8", Token("http://loinc.org", "1-8")),
        ("|1-8", Token("", "1-8")),
        ("http://loinc.org|", Token("http://loinc.org", None)),
        (r"a\|b|c\,d\$e\\f", Token("a|b", "c,d$e\\f")),
        ("a$b", Token(None, "a$b")),
        (" 1", Token(None, " 1")),
    ],
)
def test_token_is_read_by_its_bars(text, meant):
    assert value("Observation", "code", text) == meant


@pytest.mark.parametrize("text", ["|", "a|b|c", "a||", "||"])
def test_token_with_bars_that_say_nothing_is_refused(text):
    assert "system|code" in expect_refusal("Observation", "code", text)


def test_alternatives_are_split_at_commas_that_are_not_escaped():
    assert values("Observation", "code", r"a,s|b,c\,d") == (
        Token(None, "a"),
        Token("s", "b"),
        Token(None, "c,d"),
    )


def test_an_alternative_that_comes_again_counts_once():
    assert values("Observation", "code", "a,b,a") == (Token(None, "a"), Token(None, "b"))


@pytest.mark.parametrize("text", ["a,,b", "a,", ",", " ", "a, "])
def test_an_empty_alternative_is_refused(text):
    assert "between commas" in expect_refusal("Observation", "code", text)


@pytest.mark.parametrize("text", ["a\\b", "a\\", "\\n", "a\\\\\\"])
def test_a_backslash_before_anything_else_is_refused(text):
    assert "backslash" in expect_refusal("Observation", "code", text)


def test_of_type_takes_the_type_of_an_identifier_and_its_value():
    found = criterion("Patient", "identifier:of-type", "http://t|MR|12\\|3")
    assert found.modifier is Modifier.OF_TYPE
    assert found.values == (TypedIdentifier("http://t", "MR", "12|3"),)


@pytest.mark.parametrize("text", ["MR|123", "http://t|MR|", "|MR|1", "http://t||1", "a|b|c|d"])
def test_of_type_needs_all_three_parts(text):
    assert "system|code|value" in expect_refusal("Patient", "identifier:of-type", text)


def test_not_keeps_its_list_as_one():
    found = criterion("Observation", "status:not", "final,amended")
    assert found.modifier is Modifier.NOT
    assert found.values == (Token(None, "final"), Token(None, "amended"))


# Strings and uris.


def test_string_keeps_its_text_and_takes_the_meaning_of_escapes():
    assert value("Patient", "name", r"Müller\, Jörg$|x") == Text("Müller, Jörg$|x")


@pytest.mark.parametrize("name", ["exact", "contains"])
def test_string_takes_exact_and_contains(name):
    found = criterion("Patient", f"family:{name}", "Son")
    assert (found.modifier, found.values) == (name, (Text("Son"),))


def test_string_without_anything_to_compare_is_refused():
    assert "at least one character" in expect_refusal("Patient", "name", "\u0301")
    assert criterion("Patient", "name:exact", "\u0301").values == (Text("\u0301"),)


def test_uri_is_the_whole_text():
    assert value("Patient", "_profile", "http://x/p|1.0") == Text("http://x/p|1.0")
    assert value("Patient", "_profile", "urn:oid:1.2") == Text("urn:oid:1.2")
    assert value("Subscription", "url", "http://x|1") == Text("http://x|1")


def test_url_of_a_canonical_resource_with_a_version_asks_for_both():
    found = parse("ValueSet", ("url", "http://x/ValueSet/a|1.0"))
    url, version = found.query.criteria
    assert (url.parameter.code, url.values) == ("url", (Text("http://x/ValueSet/a"),))
    assert (version.parameter.code, version.values) == ("version", (Token(None, "1.0"),))
    assert found.understood == (("url", "http://x/ValueSet/a|1.0"),)


def test_url_of_a_canonical_resource_with_a_version_stands_alone():
    expect_refusal("ValueSet", "url", "http://x|1,http://y|2", NotSupported)
    expect_refusal("ValueSet", "url:below", "http://x|1", NotSupported)
    expect_refusal("ImplementationGuide", "depends-on.url", "http://x|1", NotSupported)
    assert value("ValueSet", "url", r"http://x\|1") == Text("http://x|1")


@pytest.mark.parametrize("name", ["above", "below"])
def test_above_and_below_take_urls_and_no_other_uris(name):
    assert criterion("ValueSet", f"url:{name}", "http://x/f").modifier == name
    assert "urn:oid" in expect_refusal("ValueSet", f"url:{name}", "urn:oid:1.2.3")


# Dates.


@pytest.mark.parametrize(
    ("text", "lo", "hi"),
    [
        ("2020", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("2020-02", "2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-02-29", "2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-02-29T10:30", "2020-02-29T10:30:00Z", "2020-02-29T10:31:00Z"),
        ("2020-02-29T10:30:15", "2020-02-29T10:30:15Z", "2020-02-29T10:30:16Z"),
        ("2020-02-29T10:30:15+02:00", "2020-02-29T08:30:15Z", "2020-02-29T08:30:16Z"),
        ("2020-02-29T10:30:15 02:00", "2020-02-29T08:30:15Z", "2020-02-29T08:30:16Z"),
        ("2020-02-29T10:30:15.25Z", "2020-02-29T10:30:15.250Z", "2020-02-29T10:30:15.260Z"),
    ],
)
def test_date_is_the_range_of_its_precision(text, lo, hi):
    assert value("Observation", "date", text) == Instant(Prefix.EQ, ms(lo), ms(hi))


def test_date_without_a_zone_is_in_the_zone_of_the_tenant():
    found = parse("Observation", ("date", "2020-01-01"), zone=timezone(timedelta(hours=2)))
    (only,) = found.query.criteria[0].values
    assert only.lo_ms == ms("2019-12-31T22:00:00Z")


@pytest.mark.parametrize("prefix", [one for one in Prefix if one is not Prefix.AP])
def test_prefix_leaves_the_range_as_it_is(prefix):
    found = value("Observation", "date", f"{prefix}2020")
    assert found == Instant(prefix, ms("2020-01-01T00:00:00Z"), ms("2021-01-01T00:00:00Z"))


@pytest.mark.parametrize(("day", "days"), [("2026-11-10", 1), ("2026-12-11", 2)])
def test_about_a_date_is_a_tenth_of_the_gap_from_now_wider(day, days):
    # From the nearer edge: 10 days ago, 20 days ahead.
    exact, about = value("Observation", "date", day), value("Observation", "date", f"ap{day}")
    assert exact.lo_ms - about.lo_ms == about.hi_ms - exact.hi_ms == days * 86_400_000


def test_about_a_time_that_is_now_is_no_wider():
    about = value("Observation", "date", "ap2026")
    assert (about.lo_ms, about.hi_ms) == (ms("2026-01-01T00:00:00Z"), ms("2027-01-01T00:00:00Z"))


@pytest.mark.parametrize(
    "text", ["2020-13", "2021-02-29", "20200101", "eq", "yesterday", "2020-01-01T10", "xx2020", "٢"]
)
def test_date_that_does_not_exist_is_refused(text):
    assert "YYYY" in expect_refusal("Observation", "date", text)


# Numbers and quantities.


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("100", Number(Prefix.EQ, 100, 99.5, 100.5)),
        ("100.00", Number(Prefix.EQ, 100, 99.995, 100.005)),
        ("1e2", Number(Prefix.EQ, 100, 95, 105)),
        ("gt-5.4", Number(Prefix.GT, -5.4, -5.45, -5.35)),
        ("ne0", Number(Prefix.NE, 0, -0.5, 0.5)),
    ],
)
def test_number_has_the_range_of_its_digits(text, meant):
    assert value("RiskAssessment", "probability", text) == meant


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("ap100", (90, 100, 110), (89.9, 110.1)),
        ("ap-100", (-90, -110), (-89.9, -110.1)),
        ("ap1.1", (0.99, 1.21), (0.98, 1.22)),
        ("ap0", (0,), (0.1, -0.1)),
    ],
)
def test_about_a_number_is_within_a_tenth_of_it(text, inside, outside):
    about = value("RiskAssessment", "probability", text)
    assert all(about.lo <= one < about.hi for one in inside)
    assert not any(about.lo <= one < about.hi for one in outside)


@pytest.mark.parametrize("text", ["", "x", "1,5x", "1.", ".5", "+1", "1e400", "0x10", "NaN", "eq "])
def test_number_that_is_none_is_refused(text):
    if text:
        assert "number" in expect_refusal("RiskAssessment", "probability", text)
    else:
        assert "no value" in expect_refusal("RiskAssessment", "probability", text)


@pytest.mark.parametrize(
    ("text", "system", "unit"),
    [
        ("5.4", None, None),
        ("5.4|http://unitsofmeasure.org|mg", "http://unitsofmeasure.org", "mg"),
        ("5.4||mg", None, "mg"),
        ("5.4|http://unitsofmeasure.org|", "http://unitsofmeasure.org", None),
        ("5.4||", None, None),
    ],
)
def test_quantity_names_its_unit_or_takes_any(text, system, unit):
    number = Number(Prefix.LE, 5.4, 5.35, 5.45)
    assert value("Observation", "value-quantity", f"le{text}") == Quantity(number, system, unit)


@pytest.mark.parametrize("text", ["5.4|mg", "5.4|a|b|c", "|http://unitsofmeasure.org|mg", "mg"])
def test_quantity_in_another_form_is_refused(text):
    expect_refusal("Observation", "value-quantity", text)


# References.


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Patient/23", Reference(("Patient",), "23")),
        ("Patient/23/_history/4", Reference(("Patient",), "23", "4")),
        (f"{BASE_URL}/Patient/23", Reference(("Patient",), "23")),
        (f"{BASE_URL}/Patient/23/_history/4", Reference(("Patient",), "23", "4")),
        ("http://elsewhere/Patient/23", Reference(url="http://elsewhere/Patient/23")),
        (f"{BASE_URL}x/Patient/23", Reference(url=f"{BASE_URL}x/Patient/23")),
        (f"{BASE_URL}/research/Patient/23", Reference(url=f"{BASE_URL}/research/Patient/23")),
        ("urn:uuid:0-1", Reference(url="urn:uuid:0-1")),
    ],
)
def test_reference_is_local_or_an_absolute_url(text, meant):
    assert value("Observation", "subject", text) == meant


def test_reference_to_a_version_warns_that_others_are_found_too():
    (issue,) = parse("Observation", ("subject", "Patient/23/_history/4")).issues
    assert (issue.severity, issue.code) == ("warning", "processing")
    assert "without their version" in issue.diagnostics
    assert parse("Observation", ("subject", "Patient/23")).issues == ()
    assert parse("CarePlan", ("instantiates-canonical", "http://x|1")).issues == ()


def test_reference_by_id_may_have_every_allowed_type():
    found = value("Observation", "subject", "23")
    assert (set(found.types), found.id) == ({"Patient", "Group", "Device", "Location"}, "23")


def test_reference_by_id_to_anything_may_have_every_type():
    found = value("DiagnosticReport", "assessed-condition", "23")
    assert {"Patient", "Condition"} < set(found.types)
    assert not {"Resource", "DomainResource", "HumanName"} & set(found.types)


def test_a_type_as_modifier_is_the_type_of_the_id():
    assert value("Observation", "subject:Patient", "23") == Reference(("Patient",), "23")
    assert value("Observation", "subject:Patient", "Patient/23") == Reference(("Patient",), "23")


@pytest.mark.parametrize("text", ["Group/23", f"{BASE_URL}/Group/2"])
def test_a_type_as_modifier_contradicted_by_the_value_is_refused(text):
    expect_refusal("Observation", "subject:Patient", text)


def test_a_type_as_modifier_does_not_go_with_urls_of_elsewhere():
    assert "leave :Patient out" in expect_refusal(
        "Observation", "subject:Patient", "http://x/Patient/2"
    )
    found = value("Observation", "subject:Patient", f"{BASE_URL}/Patient/2")
    assert found == Reference(("Patient",), "2")


def test_a_type_that_is_no_target_is_refused():
    assert "never points to Medication" in expect_refusal("Observation", "subject:Medication", "23")


@pytest.mark.parametrize(
    "text", ["#x", "a/b/c", "Foo/1", "Patient/", "/Patient/1", "Patient/1/_history/", "a b", "x_1"]
)
def test_reference_in_another_form_is_refused(text):
    expect_refusal("Observation", "subject", text)


def test_canonical_reference_has_its_version_after_a_bar():
    name, url = "instantiates-canonical", "http://x/PlanDefinition/p"
    assert value("CarePlan", name, f"{url}|1.0") == Reference(url=url, version="1.0")
    assert value("CarePlan", name, url) == Reference(url=url)


@pytest.mark.parametrize("text", ["Patient/1|2", "http://x|", "http://x|1|2", "|1"])
def test_version_after_a_bar_is_for_canonical_urls_alone(text):
    assert "url|version" in expect_refusal("Observation", "subject", text)


def test_identifier_of_a_reference_is_a_token():
    found = criterion("Observation", "subject:identifier", "http://mrn|1,2")
    assert isinstance(found, ReferenceIdentifier)
    assert found.values == (Token("http://mrn", "1"), Token(None, "2"))


@pytest.mark.parametrize("name", ["above", "below"])
def test_above_and_below_of_a_reference_follow_its_hierarchy(name):
    found = criterion("Encounter", f"location:{name}", "42")
    assert (found.modifier, found.values) == (name, (Reference(("Location",), "42"),))
    assert [(one.type, one.code) for one in found.hierarchy] == [("Location", "partof")]


def test_above_and_below_of_a_reference_without_a_hierarchy_are_refused():
    assert "hierarchy" in expect_refusal("Observation", "subject:below", "Patient/1")
    # The parent of a DeviceMetric is a Device.
    assert "hierarchy" in expect_refusal("Observation", "device:below", "DeviceMetric/1")
    expect_refusal("Encounter", "location:above", "http://elsewhere/Location/1", NotSupported)
    expect_refusal("Encounter", "location:below", "Location/1/_history/2", NotSupported)


def test_below_a_canonical_url_is_every_version_of_it():
    found = criterion("CarePlan", "instantiates-canonical:below", "http://x/PlanDefinition/p")
    assert found.modifier is Modifier.NONE
    assert found.values == (Reference(url="http://x/PlanDefinition/p"),)
    expect_refusal("CarePlan", "instantiates-canonical:below", "http://x/p|1", NotSupported)


# Composites.


def test_composite_has_a_value_for_each_component():
    found = value("Observation", "component-code-value-quantity", "http://loinc.org|8480-6$gt140")
    code, quantity = found.parts
    assert isinstance(found, Composite)
    assert code == Token("http://loinc.org", "8480-6")
    assert quantity.number == Number(Prefix.GT, 140, 139.5, 140.5)


def test_composite_keeps_an_escaped_dollar():
    found = value("Observation", "code-value-string", r"a\$b$c")
    assert found.parts == (Token(None, "a$b"), Text("c"))


@pytest.mark.parametrize("text", ["a", "a$1$2", "$1", "a$", "a$x"])
def test_composite_with_other_components_is_refused(text):
    expect_refusal("Observation", "code-value-quantity", text)


# Parameters of every resource.


def test_id_is_a_list_of_ids():
    assert criterion("Patient", "_id", "a,B,a") == Ids(("a", "B"))
    assert criterion("Patient", "_id:not", "a") == Ids(("a",), negated=True)


@pytest.mark.parametrize("text", ["Patient/a", "a_b", "s|a", "a" * 65])
def test_id_in_another_form_is_refused(text):
    expect_refusal("Patient", "_id", text)


def test_last_updated_is_a_date():
    found = criterion("Patient", "_lastUpdated", "ge2020,ap2026")
    assert isinstance(found, Updated)
    assert [one.prefix for one in found.values] == [Prefix.GE, Prefix.AP]


def test_list_is_the_id_of_a_list():
    assert criterion("Patient", "_list", "42") == Listed("42")


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("_list", "42,43", BadParameter),
        ("_list", "List/42", BadParameter),
        ("_list:not", "42", BadParameter),
        ("_list", "$current-problems", NotSupported),
    ],
)
def test_list_in_another_form_is_refused(name, text, error):
    expect_refusal("Patient", name, text, error)


def test_missing_is_true_or_false():
    found = criterion("Patient", "birthdate:missing", "true")
    assert isinstance(found, Missing)
    assert (found.parameter.code, found.missing) == ("birthdate", True)
    assert criterion("Patient", "gender:missing", "false").missing is False
    assert "true or false" in expect_refusal("Patient", "gender:missing", "yes")


@pytest.mark.parametrize("name", ["_id", "_lastUpdated"])
def test_what_every_resource_has_is_never_missing(name):
    assert criterion("Patient", f"{name}:missing", "true") == Nothing()
    assert parse("Patient", (f"{name}:missing", "false")).query.criteria == ()


@pytest.mark.parametrize(
    "name",
    ["code:text", "code:in", "code:not-in", "code:above", "code:below", "code:code-text"],
)
def test_modifiers_that_need_terminology_or_text_are_refused_by_name(name):
    assert f":{name.partition(':')[2]}" in expect_refusal("Observation", name, "a", NotSupported)


@pytest.mark.parametrize(
    ("type", "name"),
    [
        ("Observation", "code:exact"),
        ("Observation", "code:foo"),
        ("Observation", "date:not"),
        ("Observation", "code:Patient"),
        ("Observation", "subject:not"),
        ("Patient", "name:identifier"),
        ("Observation", "code-value-quantity:missing"),
        ("Observation", "code:"),
        ("Patient", "_id:exact"),
        ("Patient", "_lastUpdated:not"),
    ],
)
def test_a_modifier_that_a_parameter_does_not_take_is_refused_also_leniently(type, name):
    with pytest.raises(BadParameter) as caught:
        parse(type, (name, "true"), lenient=True)
    assert caught.value.expression == name


@pytest.mark.parametrize("name", ["_text", "_content", "_filter", "_query"])
def test_text_search_filters_and_named_queries_are_refused_also_leniently(name):
    with pytest.raises(NotSupported) as caught:
        parse("Patient", (name, "x"), lenient=True)
    assert not isinstance(caught.value, UnknownParameter)


def test_special_parameters_are_refused():
    expect_refusal("Location", "near", "1|2|3", NotSupported)
    expect_refusal("Location", "near:missing", "true", NotSupported)


def test_no_message_repeats_a_value():
    for name, text in [("_id", "Secret name"), ("birthdate", "Secret"), ("link", "Secret name")]:
        assert "Secret" not in expect_refusal("Patient", name, text)


def test_now_is_what_the_context_says():
    found = parse("Observation", ("date", "ap2020"), now_ms=NOW_MS + 10 * 86_400_000)
    assert found.query.criteria[0].values[0].hi_ms == (
        value("Observation", "date", "ap2020").hi_ms + 86_400_000
    )
