"""Whatever JSON is sent, validation answers with issues and nothing else."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import IssueCode
from engine.fhir.definitions.load import load_definitions
from engine.fhir.elements import Summary, with_elements, with_summary
from engine.fhir.validate import ISSUES_MAX, Validator

DEFINITIONS = load_definitions()
VALIDATOR = Validator(DEFINITIONS)
CODES = set(IssueCode.__args__)

# Names that mean something to some type, as they are and beside a primitive, and others.
WORDS = """
    id extension url valueString valueCode name given family coding system code text div status
    contained resourceType meta tag item linkId entry resource value active birthDate link
    clinicalStatus component referenceRange parameter part reference identifier
"""
NAMES = st.sampled_from(WORDS.split())
KEYS = NAMES | NAMES.map(lambda name: f"_{name}") | st.sampled_from(["", "_", "__id", "x"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "Patient", "2020-02-30", "final", "<div/>", "\u2028", " "])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
RESOURCES = st.builds(
    lambda type, members: {"resourceType": type, **members},
    st.sampled_from(
        ["Patient", "Observation", "Bundle", "Parameters", "Questionnaire", "Condition", "Basic"]
    ),
    st.dictionaries(KEYS.filter(lambda name: name != "resourceType"), VALUES, max_size=6),
)


@settings(max_examples=400, deadline=None)
@given(VALUES | RESOURCES)
def test_any_value_gets_issues_that_can_be_told(value):
    issues = VALIDATOR.check_body(msgspec.json.encode(value))
    assert len(issues) <= ISSUES_MAX
    root = value.get("resourceType") if type(value) is dict else None
    for issue in issues:
        assert issue.code in CODES
        assert issue.diagnostics
        assert issue.expression is not None
        assert issue.expression.partition(".")[0] in (root, "Resource")


@settings(max_examples=200, deadline=None)
@given(RESOURCES)
def test_validating_changes_nothing(resource):
    before = msgspec.json.encode(resource)
    first = VALIDATOR.check(resource)
    assert msgspec.json.encode(resource) == before
    assert VALIDATOR.check(resource) == first


@settings(max_examples=200, deadline=None)
@given(RESOURCES, st.lists(KEYS, max_size=3))
def test_parts_of_whatever_was_stored_are_json_with_less_in_it(resource, elements):
    """A tenant may store without validation."""
    body = msgspec.json.encode(resource)
    for part in (
        *(with_summary(body, summary, DEFINITIONS) for summary in Summary),
        with_elements(body, elements, DEFINITIONS),
    ):
        assert set(msgspec.json.decode(part)) - {"meta"} <= set(resource)
