"""The FHIR server of the tests of single requests."""

from tests.rest.conftest import server

__all__ = ["server"]
