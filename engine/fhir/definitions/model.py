"""The shape of the definitions of one FHIR release. Plain data without behaviour.

Source: the published core package of a release (StructureDefinitions, SearchParameters,
CompartmentDefinitions), made compact by `engine.fhir.definitions.build`.
"""

import enum

import msgspec


class SearchKind(enum.StrEnum):
    """Types of search parameters (FHIR R4 search.html#ptypes)."""

    NUMBER = "number"
    DATE = "date"
    STRING = "string"
    TOKEN = "token"  # noqa: S105 -- no password
    REFERENCE = "reference"
    COMPOSITE = "composite"
    QUANTITY = "quantity"
    URI = "uri"
    SPECIAL = "special"


class TypeKind(enum.StrEnum):
    """Kinds of types of the element model."""

    RESOURCE = "resource"
    COMPLEX = "complex"
    PRIMITIVE = "primitive"
    BACKBONE = "backbone"  # the anonymous type of an element, named by its path


class Component(msgspec.Struct, frozen=True, array_like=True):
    """One component of a composite search parameter."""

    definition: str  # canonical url of the parameter that says its type
    expression: str  # FHIRPath below the composite's own expression


class SearchParameter(msgspec.Struct, frozen=True, array_like=True):
    """One search parameter as it is published."""

    url: str
    code: str  # its name in a query
    kind: SearchKind
    base: tuple[str, ...]  # resource types; Resource and DomainResource mean all
    expression: str  # FHIRPath; empty for some special ones
    targets: tuple[str, ...] = ()  # of a reference
    components: tuple[Component, ...] = ()


class Element(msgspec.Struct, frozen=True, array_like=True):
    """One element of a type."""

    name: str  # as in JSON; a choice without its type: `value` for value[x]
    types: tuple[
        str, ...
    ]  # names of types; a backbone's is its path, such as Observation.component
    min: int
    max: int | None  # None: any number
    choice: bool = False  # named value[x]: in JSON the name is followed by the type's
    summary: bool = False  # isSummary
    # Allowed by a required binding, if they are known: codes of a code, `system|code` of a Coding
    # or CodeableConcept.
    codes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()  # types a Reference may point to; empty: any

    @property
    def single(self) -> bool:
        """Whether JSON holds one value and no array."""
        return self.max == 1


class TypeModel(msgspec.Struct, frozen=True, array_like=True):
    """One type: a resource, a data type, or the type of a backbone element."""

    name: str
    kind: TypeKind
    elements: tuple[Element, ...]  # inherited ones first, in order of definition
    pattern: str = ""  # of a primitive: regular expression of its JSON text
    abstract: bool = False  # there are no instances: Resource, Element


class Definitions(msgspec.Struct, frozen=True):
    """All of one release."""

    release: str  # "R4"
    version: str  # "4.0.1"
    types: dict[str, TypeModel]  # by name
    parameters: tuple[SearchParameter, ...]
    # Compartment, then resource type, then codes of the parameters that put one into it. The
    # compartment's own resource has "{def}".
    compartments: dict[str, dict[str, tuple[str, ...]]]
