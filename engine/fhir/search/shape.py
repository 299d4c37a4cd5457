"""The JSON shape that extraction looks at: what else a body holds is skipped and never decoded.

Of an ExplanationOfBenefit of 6 KB that is most of it: decoding takes a third of the time
(measured: 5 us for 14). A body of another shape, which validation may have let pass, is decoded
whole; both ways give the same rows.
"""

from typing import Any, TypedDict

from engine.fhir.search.expressions import At, Chain, Get
from engine.fhir.search.plan import TypePlan

# What readers look at in values of the types that come most often.
_CODING: dict[str, Any] = {"system": {}, "code": {}}
_LEAVES: dict[str, dict[str, Any]] = {
    "Coding": _CODING,
    "CodeableConcept": {"coding": [_CODING]},
    "Quantity": {"value": {}, "system": {}, "code": {}, "unit": {}},
    "Reference": {"reference": {}, "type": {}, "identifier": {}},
    "Period": {"start": {}, "end": {}},
}


class _Node:
    """An object of which some members are wanted, or all."""

    def __init__(self) -> None:
        self.whole = False
        self.leaves: set[str] = set()  # types of values that end here
        self.members: dict[str, tuple[bool, _Node]] = {}

    def at(self, chain: Chain) -> "_Node":
        """Where a chain leads. Tests look at members that no chain tells, so they need all."""
        node = self
        for step in chain.steps:
            if isinstance(step, Get):
                node = node.members.setdefault(step.key, (step.many, _Node()))[1]
            elif not isinstance(step, At):
                node.whole = True
        return node

    def shape(self, name: str) -> Any:
        """A type for msgspec's decoder."""
        leaves = [_LEAVES.get(type) for type in self.leaves]
        if self.whole or None in leaves or not (leaves or self.members):
            return Any
        fields: dict[str, Any] = {}
        for leaf in leaves:
            fields.update(_leaf_fields(leaf or {}, name))
        if fields.keys() & self.members.keys():
            return Any  # such as Device.type, of which a chain wants what its reader does not
        for key, (many, inner) in self.members.items():
            shape = inner.shape(f"{name}.{key}")
            fields[key] = list[shape] if many else shape  # type: ignore[valid-type]
        return _typed_dict(name, fields)


def _leaf_fields(leaf: dict[str, Any], name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, inner in leaf.items():
        if isinstance(inner, list):
            item: Any = _typed_dict(f"{name}.{key}", dict.fromkeys(inner[0], Any))
            fields[key] = list[item]
        else:
            fields[key] = Any
    return fields


def _typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """A type whose members may all be missing. Others are skipped when it is decoded."""
    make: Any = TypedDict  # a checker knows it only with literal names
    return make(name, fields, total=False)


def shape_of(plan: TypePlan) -> Any:
    """The type of all that a plan's chains look at, for msgspec's decoder."""
    root = _Node()
    for leaf in plan.leaves:
        root.at(leaf.chain).leaves.add(leaf.chain.type)
    for reference in plan.references:
        root.at(reference.chain).leaves.add(reference.chain.type)
    for place in plan.places:
        node = root.at(place.chain)
        for part in (*place.keys, *((place.last,) if place.last else ())):
            for chain in part.chains:
                node.at(chain).leaves.add(chain.type)
    return root.shape(plan.type)
