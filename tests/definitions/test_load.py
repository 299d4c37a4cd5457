"""Definitions that are shipped with the package."""

import pytest

from engine.errors import NotSupported
from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import TypeKind
from engine.fhir.types import R4_TYPES


def test_r4_is_shipped():
    definitions = load_definitions()
    assert (definitions.release, definitions.version) == ("R4", "4.0.1")
    assert load_definitions("R4") == definitions


def test_release_that_is_not_shipped_is_refused_by_name_of_those_that_are():
    with pytest.raises(NotSupported, match="supported: R4"):
        load_definitions("R6")


def test_types_of_the_definitions_are_the_types_that_the_server_knows():
    types = load_definitions().types.values()
    resources = {one.name for one in types if one.kind is TypeKind.RESOURCE and not one.abstract}
    assert resources == R4_TYPES


def test_every_base_of_a_search_parameter_is_a_type():
    definitions = load_definitions()
    for parameter in definitions.parameters:
        assert set(parameter.base) <= set(definitions.types), parameter.url


def test_every_component_of_a_composite_is_a_parameter():
    definitions = load_definitions()
    urls = {parameter.url for parameter in definitions.parameters}
    for parameter in definitions.parameters:
        assert {one.definition for one in parameter.components} <= urls, parameter.url
        assert bool(parameter.components) == (parameter.kind == "composite")


def test_parameters_of_a_compartment_exist():
    definitions = load_definitions()
    known = {(base, one.code) for one in definitions.parameters for base in one.base}
    for compartment, resources in definitions.compartments.items():
        for type, codes in resources.items():
            for code in codes:
                assert code == "{def}" or (type, code) in known, (compartment, type, code)
