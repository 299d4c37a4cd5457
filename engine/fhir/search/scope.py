"""Where a name of a query is looked up: the resource types that a search, or one step of a chain,
goes over.

Source: FHIR R4 search.html: a search over several types knows the parameters that all of them
have; one over all types, those of every resource.
"""

from collections.abc import Sequence

import msgspec

from engine.errors import BadParameter, NotSupported, UnknownParameter
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.parse_values import is_resource_type, resource_types
from engine.fhir.search.tree import Parameter

# What the specification calls a hierarchy: a resource names the one that it is a part of.
HIERARCHY_CODES = frozenset({"partof", "part-of", "parent"})

SHOWN_CHARS_MAX = 200  # of a name in a message; a chain of all steps allowed fits


class Scope(msgspec.Struct, frozen=True):
    """The types that are searched; none: all."""

    search: SearchDefinitions
    types: tuple[str, ...]

    def parameter(self, code: str) -> Parameter:
        """The parameter of this code. Raises UnknownParameter; NotSupported for one that is
        published and not here."""
        found = self._find(code)
        if found is None:
            for type in self.types:
                if (reason := self.search.refused(type).get(code)) is not None:
                    raise NotSupported(f"'{code}' of {type} is not supported: {reason}")
            raise UnknownParameter(
                f"'{shown(code)}' is not a search parameter of {self._described()}"
            )
        return found

    def _find(self, code: str) -> Parameter | None:
        if not self.types:
            return self.search.parameter("", code)
        found = [self.search.parameter(type, code) for type in self.types]
        if len(found) == 1:
            return found[0]
        return _shared([one for one in found if one is not None], len(found))

    def references(self) -> tuple[tuple[str, tuple[Parameter, ...]], ...]:
        """The reference parameters of each type that has any."""
        return tuple(
            (type, parameters)
            for type in self.all_types()
            if (parameters := _references(self.search.parameters(type)))
        )

    def all_types(self) -> tuple[str, ...]:
        """The types, each named."""
        return self.types or resource_types(self.search.definitions)

    def reaches(self, parameter: Parameter) -> bool:
        """Whether a reference by this parameter may point to what is searched."""
        if not self.types or not parameter.targets:
            return True
        return not set(self.types).isdisjoint(parameter.targets)

    def narrowed(self, *types: str) -> "Scope":
        """The same definitions over these types."""
        return Scope(self.search, types)

    def hierarchy(self, types: Sequence[str]) -> tuple[Parameter, ...]:
        """The parameters by which resources of these types name what they are a part of."""
        return tuple(
            parameter
            for type in types
            for parameter in _references(self.search.parameters(type))
            if parameter.code in HIERARCHY_CODES and type in parameter.targets
        )

    def check_type(self, name: str) -> str:
        """The name of a resource type. Raises BadParameter."""
        if not is_resource_type(self.search.definitions, name):
            release = self.search.definitions.release
            raise BadParameter(f"'{shown(name)}' is not a resource type of FHIR {release}")
        return name

    def _described(self) -> str:
        if not self.types:
            return (
                "all resource types: name the types with _type, or use one that every type has, "
                "such as _id"
            )
        if len(self.types) > 3:
            return f"all {len(self.types)} types searched: name fewer with _type"
        joined = " and ".join(self.types)
        return joined if len(self.types) == 1 else f"{joined}, or means something else in each"


def _references(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    return tuple(one for one in parameters if one.kind is SearchKind.REFERENCE)


def _shared(found: list[Parameter], types: int) -> Parameter | None:
    """One parameter that looks where each of these does: they are of different types, so no
    path of one says anything of a resource of another."""
    if len(found) < types or len({one.kind for one in found}) > 1:
        return None
    if found[0].kind is SearchKind.COMPOSITE:
        return None
    return Parameter(
        type="",
        code=found[0].code,
        kind=found[0].kind,
        paths=tuple(dict.fromkeys(path for one in found for path in one.paths)),
        targets=_targets(found),
    )


def _targets(found: list[Parameter]) -> tuple[str, ...]:
    if not all(one.targets for one in found):
        return ()  # one of them may point to any type
    return tuple(sorted({target for one in found for target in one.targets}))


def shown(name: str) -> str:
    """A name of the query, short enough for a message."""
    return name if len(name) <= SHOWN_CHARS_MAX else f"{name[: SHOWN_CHARS_MAX - 1]}…"
