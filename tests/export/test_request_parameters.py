"""What the parameters of a kick-off mean (bulk-data.md E13, E24 to E32, D18, D21)."""

import pytest

from engine.errors import BadParameter, BadRequest, NotSupported
from engine.export.request import (
    GUIDE_PARAMETERS,
    IGNORED_MAX,
    NDJSON,
    SinceInFuture,
    parse_export_request,
)
from engine.fhir.types import R4_TYPES
from engine.instant import parse_instant
from engine.model import ExportRequest

NOW_MS = parse_instant("2026-06-01T00:00:00Z", name="now")
URL = "https://fhir.example.org/fhir/$export"


def parse(*parameters: tuple[str, str], lenient: bool = False) -> ExportRequest:
    return parse_export_request(
        parameters, lenient=lenient, url=URL, now_ms=NOW_MS, known_types=R4_TYPES
    )


def test_no_parameters_ask_for_everything_E31() -> None:
    request = parse()
    assert request == ExportRequest(url=URL)
    assert request.output_format == NDJSON


def test_r4_has_146_concrete_types() -> None:
    assert len(R4_TYPES) == 146


def test_repeated_types_and_comma_lists_add_up_E13_E14() -> None:
    assert parse(("_type", "Patient,Observation"), ("_type", "Condition")).types == (
        "Condition",
        "Observation",
        "Patient",
    )


def test_a_type_given_twice_counts_once() -> None:
    assert parse(("_type", "Patient, Patient"), ("_type", "Patient")).types == ("Patient",)


@pytest.mark.parametrize("value", ["Pazient", "", "Patient,", "patient", "Resource", "../etc"])
def test_what_is_no_type_is_refused_E32(value: str) -> None:
    with pytest.raises(BadParameter, match="handling=lenient") as caught:
        parse(("_type", value))
    assert caught.value.expression == "_type"


def test_lenient_handling_leaves_an_unknown_type_out_and_says_so_E24() -> None:
    request = parse(("_type", "Patient,Pazient"), lenient=True)
    assert request.types == ("Patient",)
    assert [issue.code for issue in request.issues] == ["value"]
    assert "Pazient" in request.issues[0].diagnostics


def test_types_that_are_all_unknown_never_become_an_export_of_everything() -> None:
    with pytest.raises(BadParameter, match="no resource type"):
        parse(("_type", "Pazient"), lenient=True)


def test_since_and_until_are_read_to_the_millisecond_E27_E30() -> None:
    request = parse(("_since", "2026-01-01T00:00:00.1239Z"), ("_until", "2026-01-02T00:00:00Z"))
    assert request.since_ms == parse_instant("2026-01-01T00:00:00.123Z", name="x")
    assert request.until_ms == parse_instant("2026-01-02T00:00:00Z", name="x")


def test_a_plus_that_was_not_escaped_is_understood_D21() -> None:
    assert parse(("_since", "2026-01-01T01:00:00 01:00")).since_ms == parse_instant(
        "2026-01-01T00:00:00Z", name="x"
    )


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("name", ["_since", "_until"])
@pytest.mark.parametrize("value", ["", "yesterday", "2026-01-01", "2026-02-30T00:00:00Z"])
def test_a_malformed_time_is_refused_also_when_lenient(
    name: str, value: str, *, lenient: bool
) -> None:
    with pytest.raises(BadParameter) as caught:
        parse((name, value), lenient=lenient)
    assert caught.value.expression == name


def test_since_now_is_taken_and_a_millisecond_later_is_the_future_D18() -> None:
    assert parse(("_since", "2026-06-01T00:00:00Z")).since_ms == NOW_MS
    with pytest.raises(SinceInFuture, match="transactionTime"):
        parse(("_since", "2026-06-01T00:00:00.001Z"))


def test_until_may_lie_in_the_future() -> None:
    assert parse(("_until", "2027-01-01T00:00:00Z")).until_ms is not None


def test_since_after_until_is_refused() -> None:
    with pytest.raises(BadParameter, match="_since is after _until"):
        parse(("_since", "2026-02-01T00:00:00Z"), ("_until", "2026-01-01T00:00:00Z"))


@pytest.mark.parametrize("name", ["_since", "_until", "_outputFormat"])
def test_what_may_come_once_is_refused_twice(name: str) -> None:
    value = NDJSON if name == "_outputFormat" else "2026-01-01T00:00:00Z"
    with pytest.raises(BadRequest, match="more than once"):
        parse((name, value), (name, value), lenient=True)


@pytest.mark.parametrize(
    "value", [NDJSON, "application/ndjson", "ndjson", "application/fhir ndjson"]
)
def test_every_spelling_of_ndjson_is_taken_E26(value: str) -> None:
    assert parse(("_outputFormat", value)).output_format == NDJSON


@pytest.mark.parametrize("value", ["", "application/fhir+json", "text/csv", "NDJSON "])
def test_another_output_format_is_refused_E26(value: str) -> None:
    with pytest.raises(BadParameter, match="send application/fhir\\+ndjson"):
        parse(("_outputFormat", value), lenient=True)


@pytest.mark.parametrize("name", [*sorted(GUIDE_PARAMETERS), "_foo", "type", ""])
def test_a_parameter_that_is_not_done_is_refused_by_name_E25(name: str) -> None:
    with pytest.raises(NotSupported, match="handling=lenient") as caught:
        parse((name, "x"))
    assert caught.value.expression == name
    assert f"'{name}'" in str(caught.value)


def test_lenient_handling_names_each_ignored_parameter_once_E24() -> None:
    request = parse(
        ("_elements", "id"), ("_typeFilter", "Patient?a=b"), ("_elements", "id"), lenient=True
    )
    assert [issue.expression for issue in request.issues] == ["_elements", "_typeFilter"]
    assert {issue.severity for issue in request.issues} == {"warning"}


def test_the_number_of_ignored_parameters_is_bounded() -> None:
    many = [(f"p{n}", "x") for n in range(IGNORED_MAX + 1)]
    assert len(parse(*many[:-1], lenient=True).issues) == IGNORED_MAX
    with pytest.raises(NotSupported):
        parse(*many, lenient=True)


def test_a_message_repeats_little_of_what_a_client_sent() -> None:
    with pytest.raises(NotSupported) as caught:
        parse(("x\n" * 5000, "y"))
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)
