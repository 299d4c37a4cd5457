"""Value sets are enumerated, or known not to be."""

from typing import Any

from engine.fhir.definitions.codes import CodeSets

ANIMALS = {
    "url": "urn:animals",
    "content": "complete",
    "concept": [
        {
            "code": "mammal",
            "concept": [{"code": "dog", "concept": [{"code": "puppy"}]}, {"code": "cat"}],
        },
        {"code": "bird"},
    ],
}
PARTIAL = {"url": "urn:partial", "content": "fragment", "concept": [{"code": "a"}]}


def members(include: list[Any], exclude: list[Any] | None = None) -> list[str] | None:
    """The codes of a value set made of these parts."""
    pets = {
        "url": "urn:pets",
        "compose": {
            "include": [{"system": "urn:animals", "concept": [{"code": "cat"}, {"code": "dog"}]}]
        },
    }
    loop = {"url": "urn:loop", "compose": {"include": [{"valueSet": ["urn:loop"]}]}}
    subject = {"url": "urn:set", "compose": {"include": include, "exclude": exclude or []}}
    found = CodeSets([ANIMALS, PARTIAL], [pets, loop, subject]).members("urn:set|1.0")
    return None if found is None else [code for _, code in found]


def filtered(op: str, value: str, property: str = "concept") -> dict[str, Any]:
    return {
        "system": "urn:animals",
        "filter": [{"property": property, "op": op, "value": value}],
    }


def test_whole_code_system_has_its_nested_codes():
    assert members([{"system": "urn:animals"}]) == ["mammal", "dog", "puppy", "cat", "bird"]


def test_is_a_includes_the_code_itself():
    assert members([filtered("is-a", "dog")]) == ["dog", "puppy"]


def test_descendent_of_does_not():
    assert members([filtered("descendent-of", "mammal")]) == ["dog", "puppy", "cat"]


def test_unknown_filter_makes_the_set_unknown():
    assert members([filtered("regex", "d.*")]) is None
    assert members([filtered("=", "x", "status")]) is None


def test_listed_codes_need_no_code_system():
    assert members([{"system": "urn:else", "concept": [{"code": "x"}]}]) == ["x"]


def test_incomplete_code_system_makes_the_set_unknown():
    assert members([{"system": "urn:partial"}]) is None
    assert members([{"system": "urn:nowhere"}]) is None


def test_excluded_codes_are_gone():
    assert members([{"system": "urn:animals"}], [filtered("is-a", "mammal")]) == ["bird"]


def test_exclusion_that_is_unknown_makes_the_set_unknown():
    assert members([{"system": "urn:animals"}], [{"system": "urn:partial"}]) is None


def test_system_and_value_set_of_one_include_are_both_to_hold():
    part = {**filtered("is-a", "dog"), "valueSet": ["urn:pets"]}
    assert members([part]) == ["dog"]


def test_value_sets_that_include_each_other_are_unknown():
    assert members([{"valueSet": ["urn:loop"]}]) is None


def test_set_without_parts_has_no_codes():
    assert members([]) == []
