"""Makes the compact definitions of a release from its published package.

    python -m engine.fhir.definitions.build PACKAGE.tgz --release R4 OUT

The package is an npm one with a JSON file for each resource: `hl7.fhir.r4.examples` of R4, or
a release's core package. The same package gives the same bytes.
"""

import argparse
import gzip
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.fhir.definitions.codes import CodeSets
from engine.fhir.definitions.model import (
    Component,
    Definitions,
    Element,
    SearchKind,
    SearchParameter,
    TypeKind,
    TypeModel,
)

Resource = Mapping[str, Any]

_WANTED = (
    "CodeSystem-",
    "CompartmentDefinition-",
    "SearchParameter-",
    "StructureDefinition-",
    "ValueSet-",
)
_CANONICAL = "http://hl7.org/fhir/"
_REGEX = "http://hl7.org/fhir/StructureDefinition/regex"
_FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
_KINDS = {
    "resource": TypeKind.RESOURCE,
    "complex-type": TypeKind.COMPLEX,
    "primitive-type": TypeKind.PRIMITIVE,
}
_ANONYMOUS = frozenset({"BackboneElement", "Element"})
_POINTING = frozenset({"Reference", "CodeableReference"})
# The native type of ids is a string's, and what the releases add to it is at times the wrong one:
# a resource has an id, an element a string.
_IDS = (("id",), ("string",))
_CODED = frozenset({"Coding", "CodeableConcept"})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="engine.fhir.definitions.build")
    parser.add_argument("package", type=Path, help="npm package of the release (.tgz)")
    parser.add_argument("--release", required=True, help="R4, R4B or R5")
    parser.add_argument("out", type=Path, help="file to write, such as r4.json.gz")
    arguments = parser.parse_args()
    definitions = build(arguments.package, arguments.release)
    arguments.out.write_bytes(packed(definitions))


def build(package: Path, release: str) -> Definitions:
    """Read a package. Raises OSError, tarfile.TarError, msgspec.DecodeError, KeyError."""
    resources, version = _read(package)
    by_type: dict[str, list[Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource["resourceType"], []).append(resource)
    codes = CodeSets(by_type["CodeSystem"], by_type["ValueSet"])
    types = {
        model.name: model
        for structure in _by_url(by_type["StructureDefinition"])
        if _is_type(structure)
        for model in _type_models(structure, codes)
    }
    return Definitions(
        release=release,
        version=version,
        types=types,
        parameters=tuple(map(_parameter, _by_url(filter(_searches, by_type["SearchParameter"])))),
        compartments={
            compartment["code"]: _compartment(compartment)
            for compartment in _by_url(by_type["CompartmentDefinition"])
            if not _is_example(compartment)
        },
    )


def packed(definitions: Definitions) -> bytes:
    """The bytes of the file that `load_definitions` reads."""
    return gzip.compress(msgspec.json.encode(definitions), compresslevel=9, mtime=0)


def _read(package: Path) -> tuple[list[Resource], str]:
    """The resources that matter and the version of FHIR."""
    resources = []
    version = ""
    with tarfile.open(package) as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            if name != "package.json" and not (
                name.startswith(_WANTED) and name.endswith(".json") and "/" not in name
            ):
                continue
            file = archive.extractfile(member)
            assert file is not None  # a file by its name
            content = msgspec.json.decode(file.read())
            if name == "package.json":
                version = content["fhirVersions"][0]
            else:
                resources.append(content)
    return resources, version


def _by_url(resources: Iterable[Resource]) -> list[Resource]:
    return sorted(resources, key=lambda resource: str(resource["url"]))


def _is_example(resource: Resource) -> bool:
    return str(resource["id"]).partition("-")[0] == "example"


# Types.


def _is_type(structure: Resource) -> bool:
    """Whether it defines a type of FHIR, and no profile of one or logical model."""
    return (
        structure["kind"] in _KINDS
        and structure.get("derivation") != "constraint"
        and str(structure["url"]).startswith(_CANONICAL)
    )


def _type_models(structure: Resource, codes: CodeSets) -> list[TypeModel]:
    """The type itself and those of its backbone elements, named by their paths."""
    name = str(structure["type"])
    kind = _KINDS[structure["kind"]]
    snapshot = structure["snapshot"]["element"]
    below: dict[str, list[Element]] = {name: []}
    pattern = ""
    for definition in snapshot:
        path = str(definition["path"])
        owner, _, last = path.rpartition(".")
        if not owner:
            continue
        if kind is TypeKind.PRIMITIVE and last == "value":
            pattern = _extension_value(definition["type"][0], _REGEX)
            continue
        element = _element(definition, last, codes)
        if last == "id" and element.types in _IDS:
            is_resource = kind is TypeKind.RESOURCE and owner == name
            element = msgspec.structs.replace(element, types=_IDS[not is_resource])
        below.setdefault(owner, []).append(element)
        if element.types == (path,):
            below.setdefault(path, [])
    return [
        TypeModel(
            name=path,
            kind=kind if path == name else TypeKind.BACKBONE,
            elements=tuple(elements),
            pattern=pattern,
            abstract=bool(structure.get("abstract")) and path == name,
        )
        for path, elements in below.items()
    ]


def _element(definition: Resource, name: str, codes: CodeSets) -> Element:
    listed: Sequence[Resource] = definition.get("type", ())
    reference = definition.get("contentReference")
    if reference is not None:
        types: tuple[str, ...] = (str(reference).partition("#")[2],)
    else:
        types = tuple(_type_name(one, definition["path"]) for one in listed)
    return Element(
        name=name.removesuffix("[x]"),
        types=types,
        min=definition["min"],
        max=None if definition["max"] == "*" else int(definition["max"]),
        choice=name.endswith("[x]"),
        summary=bool(definition.get("isSummary")),
        codes=_codes(definition, types, codes),
        targets=_targets(listed),
    )


def _type_name(listed: Resource, path: str) -> str:
    code = str(listed["code"])
    if code in _ANONYMOUS:
        return path
    if code.startswith("http:"):  # the native type of an id or a url
        return _extension_value(listed, _FHIR_TYPE) or code.rpartition(".")[2].lower()
    return code


def _codes(definition: Resource, types: tuple[str, ...], codes: CodeSets) -> tuple[str, ...]:
    binding = definition.get("binding", {})
    if binding.get("strength") != "required" or len(types) != 1 or "valueSet" not in binding:
        return ()
    members = codes.members(binding["valueSet"])
    if members is None:
        return ()
    if types[0] in _CODED:
        return tuple(f"{system}|{code}" for system, code in members)
    return tuple(dict.fromkeys(code for _, code in members)) if types[0] == "code" else ()


def _targets(listed: Sequence[Resource]) -> tuple[str, ...]:
    """Types a reference may point to; none if to any."""
    names = [
        str(profile).rpartition("/")[2]
        for one in listed
        if one["code"] in _POINTING
        for profile in one.get("targetProfile", ())
    ]
    return () if "Resource" in names else tuple(dict.fromkeys(names))


def _extension_value(holder: Resource, url: str) -> str:
    for extension in holder.get("extension", ()):
        if extension["url"] == url:
            return next(str(value) for key, value in extension.items() if key != "url")
    return ""


# Search parameters and compartments.


def _searches(parameter: Resource) -> bool:
    """Whether a parameter is one of the specification's with something to look at."""
    return not _is_example(parameter) and "base" in parameter and "expression" in parameter


def _parameter(parameter: Resource) -> SearchParameter:
    return SearchParameter(
        url=parameter["url"],
        code=parameter["code"],
        kind=SearchKind(parameter["type"]),
        base=tuple(parameter["base"]),
        expression=parameter["expression"],
        targets=tuple(parameter.get("target", ())),
        components=tuple(
            Component(definition=one["definition"], expression=one["expression"])
            for one in parameter.get("component", ())
        ),
    )


def _compartment(compartment: Resource) -> dict[str, tuple[str, ...]]:
    found = {
        str(one["code"]): tuple(one["param"]) for one in compartment["resource"] if one.get("param")
    }
    own = str(compartment["code"])
    found[own] = tuple(dict.fromkeys(("{def}", *found.get(own, ()))))
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main()
