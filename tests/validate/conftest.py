"""The validator of R4."""

import pytest

from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import Definitions
from engine.fhir.validate import Validator


@pytest.fixture(scope="session")
def definitions() -> Definitions:
    return load_definitions()


@pytest.fixture(scope="session")
def validator(definitions: Definitions) -> Validator:
    return Validator(definitions)
