"""Every published parameter, and a tenant's own, can be asked for by its name."""

import pytest

from engine.errors import NotSupported, UnknownParameter
from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.query import parse_search
from engine.fhir.search.registry import Release, TenantSearch, build_search, path_names
from engine.fhir.search.tree import Compare, Path, Text, Token
from tests.support.published_search import CONTEXT

VALUES = {
    SearchKind.TOKEN: "http://a|b",
    SearchKind.DATE: "ge2020-01",
    SearchKind.NUMBER: "lt1.5",
    SearchKind.QUANTITY: "gt1.5||mg",
    SearchKind.STRING: "a",
    SearchKind.REFERENCE: "x",
    SearchKind.URI: "http://a/b",
}
NICKNAME = {
    "resourceType": "SearchParameter",
    "status": "active",
    "url": "http://example.org/nickname",
    "code": "nickname",
    "base": ["Patient"],
    "type": "string",
    "expression": "Patient.name.where(use='nickname').given",
}


@pytest.fixture(scope="module")
def release() -> Release:
    return Release(load_definitions())


def tenant(release: Release, *own: dict[str, object]) -> TenantSearch:
    numbers = {name: number for number, name in enumerate(path_names(release, own))}
    return build_search(
        release, own=own, generation=1, secret=b"", path_numbers=numbers, base_urls=()
    )


def parse(search: TenantSearch, type: str, name: str, value: str, *, lenient: bool = False):
    return parse_search(
        [(name, value)], type=type, search=search, lenient=lenient, context=CONTEXT
    ).query


def test_every_parameter_of_every_type_is_understood(release):
    search = tenant(release)
    asked = 0
    for type in release.types:
        for parameter in search.parameters(type):
            if parameter.code in ("_id", "_lastUpdated"):
                continue
            parts = parameter.components or (parameter,)
            value = "$".join(VALUES[part.kind] for part in parts)
            (only,) = parse(search, type, parameter.code, value).criteria
            assert isinstance(only, Compare)
            assert only.parameter == parameter
            assert only.parameter.paths, f"{type}.{parameter.code} looks nowhere"
            asked += 1
    assert asked > 2000


def test_what_is_published_and_not_here_is_refused_also_leniently(release):
    search = tenant(release)
    left_out = [(type, code) for type in release.types for code in search.refused(type)]
    assert ("Location", "near") in left_out
    for type, code in left_out:
        with pytest.raises(NotSupported) as caught:
            parse(search, type, code, "x", lenient=True)
        assert not isinstance(caught.value, UnknownParameter)


def test_case_does_not_count_for_tokens_that_are_strings(release):
    search = tenant(release)
    (only,) = parse(search, "Medication", "lot-number", "|Ab12").criteria
    assert isinstance(only, Compare)
    assert only.values == (Token("", "ab12"),)
    body = b'{"resourceType":"Medication","batch":{"lotNumber":"aB12"},"status":"active"}'
    assert {term.code for term in search.rows("Medication", body).terms} == {"ab12", "active"}
    (only,) = parse(search, "Medication", "status", "Active").criteria
    assert isinstance(only, Compare)
    assert only.values == (Token(None, "Active"),)


def test_a_parameter_of_the_tenants_own_is_understood(release):
    (only,) = parse(tenant(release, NICKNAME), "Patient", "nickname", "Jo").criteria
    assert isinstance(only, Compare)
    assert only.values == (Text("Jo"),)
    assert [type(one) for one in only.parameter.paths] == [Path]
    with pytest.raises(UnknownParameter):
        parse(tenant(release), "Patient", "nickname", "Jo")


def test_a_chain_ends_in_a_parameter_of_the_tenants_own(release):
    (only,) = parse(
        tenant(release, NICKNAME), "Observation", "subject.nickname:exact", "Jo"
    ).criteria
    assert [target for target, _ in only.targets] == ["Patient"]
