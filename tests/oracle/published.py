"""What the specification publishes about searching: parameters, their targets, compartments.

Read from the definitions as data. Nothing else of the engine is used by the oracle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from engine.fhir.definitions.load import load_definitions

# DocumentReference.relationship is published with the definitions of its components exchanged:
# the one that is a reference has the expression `code`, the one that is a code `target`.
EXCHANGED = "relationship"


@dataclass(frozen=True)
class Component:
    """One side of a composite."""

    definition: str
    expression: str


@dataclass(frozen=True)
class Published:
    """One search parameter, as it is published."""

    url: str
    code: str
    kind: str
    base: tuple[str, ...]
    expression: str
    targets: tuple[str, ...]
    components: tuple[Component, ...]


class Specification:
    """The published parameters of one release."""

    def __init__(self) -> None:
        definitions = load_definitions("R4")
        self.resource_types = frozenset(
            name for name, model in definitions.types.items() if model.kind.value == "resource"
        ) - {"Resource", "DomainResource"}
        self.by_url: dict[str, Published] = {}
        self._by_type: dict[str, dict[str, Published]] = {}
        for one in definitions.parameters:
            published = Published(
                one.url,
                one.code,
                one.kind.value,
                tuple(one.base),
                one.expression,
                tuple(one.targets),
                tuple(Component(part.definition, part.expression) for part in one.components),
            )
            self.by_url[one.url] = published
            for base in one.base:
                self._by_type.setdefault(base, {})[one.code] = published
        self._compartments = definitions.compartments

    def parameter(self, type: str, code: str) -> Published | None:
        """By its code; of every resource if `type` is ""."""
        for base in (type, "DomainResource", "Resource"):
            found = self._by_type.get(base, {}).get(code)
            if found is not None:
                return found
        return None

    def component(self, parameter: Published, component: Component) -> Published:
        """The parameter that one side of a composite is compared as."""
        if parameter.code == EXCHANGED:
            others = (one for one in parameter.components if one != component)
            component = next(others)
        return self.by_url[component.definition]

    def codes(self, type: str) -> Sequence[str]:
        """Of the parameters that are this type's own."""
        return sorted(self._by_type.get(type, {}))

    def targets(self, parameter: Published) -> frozenset[str]:
        """Types of resource that a reference may point to."""
        if not parameter.targets or "Resource" in parameter.targets:
            return self.resource_types
        return frozenset(parameter.targets)

    def compartment(self, compartment: str) -> Mapping[str, tuple[str, ...]]:
        """By resource type, the codes that put it there, with the two rules of docs/search.md."""
        published = self._compartments[compartment]
        if compartment != "Patient":
            return published
        return {**published, "Patient": ("{def}",), "Device": ("patient",)}


@lru_cache(maxsize=1)
def specification() -> Specification:
    """Of R4, read once."""
    return Specification()
