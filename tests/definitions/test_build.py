"""The definitions are made of all that the published package says."""

import gzip
import json
from importlib.resources import files

import msgspec
import pytest

from engine.fhir.definitions.build import build, packed
from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import Definitions, TypeKind
from tests.support.package import package_archive, r4_package, r4_resources

ABSTRACT = {"Resource", "DomainResource", "Element", "BackboneElement"}
# What has no FHIRPath expression cannot be indexed.
NOT_FROM_ELEMENTS = {"DomainResource-text", "Resource-content", "Resource-query", "filter"}
EXTENSION_PAGES = ("codesystem-extensions-", "patient-extensions-", "valueset-extensions-")


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return load_definitions()


@pytest.fixture(scope="module")
def published() -> dict[str, list[dict]]:
    """The resources of the package that definitions are made from, by type."""
    found: dict[str, list[dict]] = {}
    for name, body in r4_resources():
        type = name.partition("-")[0]
        if type in ("SearchParameter", "StructureDefinition", "CompartmentDefinition"):
            found.setdefault(type, []).append(json.loads(body))
    return found


def test_shipped_file_is_what_the_script_makes_of_the_package():
    r4_package()  # or skip
    shipped = files("engine.fhir.definitions").joinpath("r4.json.gz").read_bytes()
    made = packed(build(package_archive(), "R4"))
    assert gzip.decompress(made) == gzip.decompress(shipped)


def test_packing_twice_gives_the_same_bytes(definitions):
    assert packed(definitions) == packed(
        msgspec.json.decode(msgspec.json.encode(definitions), type=Definitions)
    )


def test_no_search_parameter_is_lost(definitions, published):
    kept = {parameter.url for parameter in definitions.parameters}
    lost = [one for one in published["SearchParameter"] if one["url"] not in kept]
    for one in lost:
        name = one["id"]
        examples = name.partition("-")[0] == "example"
        assert examples or name in NOT_FROM_ELEMENTS or name.startswith(EXTENSION_PAGES), name
        assert examples or "expression" not in one, name
    assert len(kept) == len(definitions.parameters) == 1381
    assert len(lost) == 19


def test_search_parameters_say_what_is_published(definitions, published):
    by_url = {parameter.url: parameter for parameter in definitions.parameters}
    for one in published["SearchParameter"]:
        parameter = by_url.get(one["url"])
        if parameter is None:
            continue
        assert parameter.code == one["code"]
        assert parameter.kind == one["type"]
        assert list(parameter.base) == one["base"]
        assert parameter.expression == one["expression"]
        assert list(parameter.targets) == one.get("target", [])
        assert [c.expression for c in parameter.components] == [
            c["expression"] for c in one.get("component", [])
        ]


def test_every_element_of_every_snapshot_is_there(definitions, published):
    """Read apart from the script: path by path, as the snapshot numbers them."""
    seen = 0
    for structure in published["StructureDefinition"]:
        if structure["kind"] == "logical" or structure.get("derivation") == "constraint":
            continue
        for one in structure["snapshot"]["element"]:
            owner, _, name = one["path"].rpartition(".")
            if not owner or (structure["kind"] == "primitive-type" and name == "value"):
                continue
            elements = {element.name: element for element in definitions.types[owner].elements}
            element = elements[name.removesuffix("[x]")]
            assert element.choice == name.endswith("[x]")
            assert element.min == one["min"]
            assert ("*" if element.max is None else str(element.max)) == one["max"]
            assert element.summary == one.get("isSummary", False)
            assert len(element.types) == len(one.get("type", "1"))
            seen += 1
    assert seen == sum(len(model.elements) for model in definitions.types.values())


def test_every_type_that_an_element_names_is_there(definitions):
    for model in definitions.types.values():
        for element in model.elements:
            assert element.types, f"{model.name}.{element.name}"
            for type in (*element.types, *element.targets):
                assert type in definitions.types, f"{model.name}.{element.name}: {type}"


def test_abstract_types_are_marked(definitions):
    assert {model.name for model in definitions.types.values() if model.abstract} == ABSTRACT


def test_recursion_leads_back_to_the_same_type(definitions):
    elements = {one.name: one for one in definitions.types["Questionnaire.item"].elements}
    assert elements["item"].types == ("Questionnaire.item",)
    assert definitions.types["Questionnaire.item"].kind is TypeKind.BACKBONE


def test_required_bindings_have_their_codes(definitions):
    elements = {one.name: one for one in definitions.types["Patient"].elements}
    assert elements["gender"].codes == ("male", "female", "other", "unknown")
    elements = {one.name: one for one in definitions.types["Condition"].elements}
    system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    assert f"{system}|active" in elements["clinicalStatus"].codes
    assert f"{system}|remission" in elements["clinicalStatus"].codes  # below inactive
    assert not elements["severity"].codes  # preferred, not required


def test_references_name_their_targets(definitions):
    elements = {one.name: one for one in definitions.types["Observation"].elements}
    assert elements["encounter"].targets == ("Encounter",)
    assert elements["focus"].targets == ()  # any


def test_compartments_are_the_five_of_the_specification(definitions, published):
    assert set(definitions.compartments) == {
        "Device",
        "Encounter",
        "Patient",
        "Practitioner",
        "RelatedPerson",
    }
    for one in published["CompartmentDefinition"]:
        if one["id"] == "example":
            continue
        ours = definitions.compartments[one["code"]]
        assert "{def}" in ours[one["code"]]
        for resource in one["resource"]:
            codes = [code for code in ours.get(resource["code"], ()) if code != "{def}"]
            assert codes == [code for code in resource.get("param", []) if code != "{def}"]
