"""The resources that a search looks at, as the oracle knows them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.oracle.fhirpath import Node, values
from tests.oracle.published import Published


@dataclass
class Resource:
    """One live resource."""

    type: str
    id: str
    body: dict[str, Any]
    updated_ms: int
    number: int  # grows in the order in which the resources were first created
    nodes: dict[str, list[Node]] = field(default_factory=dict)  # by the parameter's url

    @property
    def key(self) -> str:
        return f"{self.type}/{self.id}"

    def values(self, parameter: Published) -> list[Node]:
        """What a parameter's expression gives."""
        found = self.nodes.get(parameter.url)
        if found is None:
            found = values(self.type, parameter.expression, self.body)
            self.nodes[parameter.url] = found
        return found


class World:
    """All live resources, in order of their creation."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all = sorted(resources, key=lambda one: one.number)
        self._by_key = {one.key: one for one in self._all}
        self._by_type: dict[str, list[Resource]] = {}
        for one in self._all:
            self._by_type.setdefault(one.type, []).append(one)

    def of_types(self, types: Sequence[str]) -> Iterator[Resource]:
        """Of these types, of all if there are none."""
        for one in self._all:
            if not types or one.type in types:
                yield one

    def of_type(self, type: str) -> list[Resource]:
        return self._by_type.get(type, [])

    def find(self, type: str, id: str) -> Resource | None:
        return self._by_key.get(f"{type}/{id}")

    @property
    def types(self) -> list[str]:
        return sorted(self._by_type)


def parsed(body: bytes) -> dict[str, Any]:
    """A body with its decimals as they are written."""
    return json.loads(body, parse_float=Decimal)
