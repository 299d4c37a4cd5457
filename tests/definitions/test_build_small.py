"""The script on a package of a few made-up definitions."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.fhir.definitions.build import build, packed
from engine.fhir.definitions.model import Component, Element, SearchKind, TypeKind

STRING = "http://hl7.org/fhirpath/System.String"
URL = "http://hl7.org/fhir/StructureDefinition/"


def element(path: str, *types: Any, min: int = 0, max: str = "1", **more: Any) -> dict[str, Any]:
    listed = [{"code": one} if isinstance(one, str) else one for one in types]
    return {"path": path, "min": min, "max": max, "type": listed, **more}


def native(fhir_type: str) -> dict[str, Any]:
    url = f"{URL}structuredefinition-fhir-type"
    return {"code": STRING, "extension": [{"url": url, "valueUrl": fhir_type}]}


def structure(name: str, kind: str, *elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "StructureDefinition",
        "id": name,
        "url": URL + name,
        "type": name,
        "kind": kind,
        "derivation": "specialization",
        "snapshot": {"element": [{"path": name, "min": 0, "max": "*"}, *elements]},
        **more,
    }


def parameter(code: str, type: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "SearchParameter",
        "id": f"Thing-{code}",
        "url": f"http://hl7.org/fhir/SearchParameter/Thing-{code}",
        "code": code,
        "type": type,
        "base": ["Thing"],
        "expression": f"Thing.{code}",
        **more,
    }


RESOURCES = [
    structure(
        "code",
        "primitive-type",
        element("code.id", native("string")),
        element(
            "code.value",
            {"code": STRING, "extension": [{"url": f"{URL}regex", "valueString": r"\S+"}]},
        ),
    ),
    structure(
        "Thing",
        "resource",
        element("Thing.id", native("string")),
        element(
            "Thing.colour",
            "code",
            min=1,
            isSummary=True,
            binding={"strength": "required", "valueSet": "urn:colours|1.0"},
        ),
        element("Thing.value[x]", "code", "Reference"),
        element("Thing.part", "BackboneElement", max="*"),
        element("Thing.part.id", native("id")),
        element(
            "Thing.part.owner", {"code": "Reference", "targetProfile": [f"{URL}Thing"]}, max="2"
        ),
        element("Thing.part.part", max="*", contentReference="#Thing.part"),
        element("Thing.any", {"code": "Reference", "targetProfile": [f"{URL}Resource"]}),
    ),
    structure("Profile", "resource", type="Thing", derivation="constraint"),
    structure("Model", "logical"),
    {
        "resourceType": "CodeSystem",
        "id": "colours",
        "url": "urn:colours-system",
        "content": "complete",
        "concept": [{"code": "red"}, {"code": "blue"}],
    },
    {
        "resourceType": "ValueSet",
        "id": "colours",
        "url": "urn:colours",
        "compose": {"include": [{"system": "urn:colours-system"}]},
    },
    parameter("part", "reference", target=["Thing"]),
    parameter("pair", "composite", component=[{"definition": "urn:x", "expression": "colour"}]),
    parameter("none", "token", id="example", url="http://hl7.org/fhir/SearchParameter/example"),
    {
        "resourceType": "CompartmentDefinition",
        "id": "thing",
        "url": "http://hl7.org/fhir/CompartmentDefinition/thing",
        "code": "Thing",
        "resource": [{"code": "Thing", "param": ["part"]}, {"code": "Other"}],
    },
]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {f"{one['resourceType']}-{one['id']}.json": one for one in RESOURCES}
    files["package.json"] = {"fhirVersions": ["9.0"]}
    files["Thing-example.json"] = {"resourceType": "Thing"}
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_types_have_their_elements(package):
    definitions = build(package, "R9")
    assert (definitions.release, definitions.version) == ("R9", "9.0")
    assert set(definitions.types) == {"code", "Thing", "Thing.part"}
    assert definitions.types["code"].pattern == r"\S+"
    assert definitions.types["Thing.part"].kind is TypeKind.BACKBONE
    assert definitions.types["Thing"].elements == (
        Element("id", ("id",), 0, 1),
        Element("colour", ("code",), 1, 1, summary=True, codes=("red", "blue")),
        Element("value", ("code", "Reference"), 0, 1, choice=True),
        Element("part", ("Thing.part",), 0, None),
        Element("any", ("Reference",), 0, 1),
    )
    assert definitions.types["Thing.part"].elements == (
        Element("id", ("string",), 0, 1),
        Element("owner", ("Reference",), 0, 2, targets=("Thing",)),
        Element("part", ("Thing.part",), 0, None),
    )


def test_parameters_and_compartments_are_there_and_examples_are_not(package):
    definitions = build(package, "R9")
    pair, part = definitions.parameters
    assert (part.code, part.kind, part.targets) == ("part", SearchKind.REFERENCE, ("Thing",))
    assert pair.components == (Component("urn:x", "colour"),)
    assert definitions.compartments == {"Thing": {"Thing": ("{def}", "part")}}


def test_command_writes_what_is_read_back(package, tmp_path):
    out = tmp_path / "r9.json.gz"
    command = [sys.executable, "-m", "engine.fhir.definitions.build", package, "--release", "R9"]
    subprocess.run([*command, out], check=True, timeout=60)
    assert out.read_bytes() == packed(build(package, "R9"))
    assert msgspec.json.encode(build(package, "R9")) == msgspec.json.encode(build(package, "R9"))
