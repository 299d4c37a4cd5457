"""Resources of every type there is, filled by the published element model.

What search parameters look at is filled more often than what they do not. Valid R4, as far as
structure goes; most of it makes no sense to a clinician.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import Definitions, Element, TypeKind
from tests.oracle.published import specification
from tests.support import fhir_data
from tests.support.fhir_data import Body, Generator, Step, encoded

DEPTH_MAX = 4
# Of no use to a search here, or with rules of their own.
LEFT_OUT = frozenset({"contained", "extension", "modifierExtension", "text", "id", "meta"})
WITHOUT_MODEL = frozenset({"Resource", "Narrative", "Extension", "xhtml"})
ALTERED = frozenset({"SearchParameter"})  # one that a store takes changes what can be asked


@cache
def definitions() -> Definitions:
    """Of R4, read once."""
    return load_definitions("R4")


@cache
def words(type: str) -> frozenset[str]:
    """Names that the expressions of a type's parameters have in them."""
    known = specification()
    found = [known.parameter(type, code) for code in known.codes(type)]
    texts = [one.expression for one in found if one]
    texts += [part.expression for one in found if one for part in one.components]
    return frozenset(re.findall(r"[a-z][A-Za-z]*", " ".join(texts)))


def all_types() -> list[str]:
    """Those that resources can have, but for a few."""
    return sorted(specification().resource_types - ALTERED)


class AnyType(Generator):
    """Makes resources of the types it is told. All its choices come from one seed."""

    def __init__(self, seed: int, types: Sequence[str]) -> None:
        super().__init__(seed)
        self._types = types

    def steps(self, rounds: int = 5) -> Iterator[Step]:
        """`rounds` resources of each type."""
        for type in self._types:
            self._ids[type] = [self._id(type, number) for number in range(rounds)]
        order = [(type, id) for type, ids in self._ids.items() for id in ids]
        self._random.shuffle(order)
        for type, id in order:
            body = {"resourceType": type, "id": id} | self._filled(type, type, 0)
            if meta := self._meta():
                body["meta"] = meta
            yield Step(type, id, encoded(body))

    def _id(self, type: str, number: int) -> str:
        return ("x1", "X1")[number] if number < 2 else f"{type}-{number}"

    def _filled(self, resource: str, type: str, depth: int) -> Body:
        """The members of a type."""
        body: Body = {}
        for element in definitions().types[type].elements:
            chance = 0.75 if element.name in words(resource) else 0.1
            wanted = element.min > 0 or (depth < DEPTH_MAX and self._maybe(chance))
            left_out = element.name in LEFT_OUT and element.min == 0
            if left_out or not wanted:
                continue
            chosen = self._one(self._choices(element))
            count = 1 if element.single else self._one((1, 1, 2, 3))
            values = [self._of_type(resource, chosen, element, depth) for _ in range(count)]
            values = [value for value in values if value is not None and value != {}]
            name = element.name
            if element.choice:
                name += chosen[0].upper() + chosen[1:]
            if values:
                body[name] = values[0] if element.single else values
        return body

    def _choices(self, element: Element) -> list[str]:
        known = [one for one in element.types if one not in WITHOUT_MODEL]
        handled = [one for one in known if one in self._values() or one in self._objects()]
        return handled or known or list(element.types)

    def _of_type(self, resource: str, type: str, element: Element, depth: int) -> Any:
        if element.codes:
            return self._coded(type, element)
        if type in ("Reference", "canonical"):
            return self._pointer(type, element)
        if type == "Resource":
            return {
                "resourceType": "MessageHeader",
                "id": self._one(("x1", "X1")),
                "eventUri": "urn:acme:event",
                "source": {"endpoint": "http://acme.example/messages"},
            }
        values = self._values()
        if type in values:
            return self._one(values[type])
        objects = self._objects()
        if type in objects:
            return objects[type]()
        model = definitions().types.get(type)
        if model is None or model.kind is TypeKind.RESOURCE or depth > DEPTH_MAX:
            return None
        return self._filled(resource, type, depth + 1)

    def _coded(self, type: str, element: Element) -> Any:
        system, bar, code = self._one(element.codes).rpartition("|")
        coding = {"code": code} | ({"system": system} if bar else {})
        if type == "CodeableConcept":
            return {"coding": [coding]}
        return coding if type == "Coding" else code

    def _pointer(self, type: str, element: Element) -> Any:
        if type == "canonical":
            return self._one(fhir_data.URLS[:5]) + self._one(("", "", "|1.0", "|2"))
        targets = [one for one in element.targets if one in self._ids]
        return self._reference(*(targets or sorted(self._ids)))

    def _values(self) -> dict[str, tuple[Any, ...]]:
        texts = (*fhir_data.GIVENS, *fhir_data.CITIES)
        return {
            "boolean": (True, False),
            "integer": (-2, 0, 1, 2, 100),
            "positiveInt": (1, 2, 100),
            "unsignedInt": (0, 1, 2, 100),
            "decimal": tuple(map(Decimal, fhir_data.DECIMALS)),
            "string": texts,
            "markdown": texts,
            "code": ("final", "42", "x|y", "a,b"),
            "id": ("x1", "X1", "an-id"),
            "uri": fhir_data.URLS,
            "url": fhir_data.URLS[:5],
            "oid": ("urn:oid:1.2.3.4.5",),
            "uuid": ("urn:uuid:5d1b4f6e-1111-4222-8333-444455556666",),
            "date": fhir_data.DATES,
            "dateTime": fhir_data.DATE_TIMES,
            "instant": fhir_data.INSTANTS,
            "time": ("10:00:00", "23:59:59.5"),
            "base64Binary": ("aGFsbG8=",),
        }

    def _objects(self) -> dict[str, Callable[[], Body]]:
        return {
            "Address": self._address,
            "Age": self._age,
            "CodeableConcept": self._concept,
            "Coding": self._coding,
            "ContactPoint": self._telecom,
            "Count": self._age,
            "Distance": self._age,
            "Duration": self._age,
            "HumanName": self._name,
            "Identifier": self._identifier,
            "Money": self._money,
            "Period": self._period,
            "Quantity": self._quantity,
            "Range": self._range,
            "Timing": self._timing,
        }

    def _money(self) -> Body:
        return {"value": self._decimal(), "currency": self._one(("EUR", "USD"))}

    def _range(self) -> Body:
        return self._fill({}, 0.7, low=self._quantity, high=self._quantity)

    def _timing(self) -> Body:
        if self._maybe():
            return {"event": [self._date_time(), self._date_time()]}
        return {"repeat": {"boundsPeriod": self._period()}}
