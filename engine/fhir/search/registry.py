"""The search definitions of one tenant: the release's parameters and the tenant's own.

What is the same for all tenants, the plans of resource types, is made once in a Release and
shared; a tenant adds its numbers, its secret, its zone and its addresses.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any

import msgspec

from engine.fhir.definitions.model import Definitions, SearchParameter, TypeKind
from engine.fhir.search.expressions import Expressions
from engine.fhir.search.extraction import Indexer, Readers
from engine.fhir.search.keys import Keys
from engine.fhir.search.own import own_parameter, refused
from engine.fhir.search.plan import TypePlan, plan_type
from engine.fhir.search.readers import DateReader, ReferenceReader, StringReader
from engine.fhir.search.rows import Rows
from engine.fhir.search.shape import shape_of
from engine.fhir.search.tree import Parameter

_ALL_TYPES = "Resource"
_ABSTRACT = ("Resource", "DomainResource")
_ITSELF = "{def}"
# DESIGN 7: links between patients are not followed, and a device is its patient's as in R5.
_LEFT_OUT = {("Patient", "Patient"): ("link",)}
_ADDED = {("Patient", "Device"): ("patient",)}


class Release:
    """What the published parameters of one release come to. Plans are made when first asked for;
    may be shared by all tenants and threads."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.types = tuple(
            sorted(
                name
                for name, model in definitions.types.items()
                if model.kind is TypeKind.RESOURCE and name not in _ABSTRACT
            )
        )
        self.expressions = Expressions(definitions)
        self._published: dict[str, list[SearchParameter]] = {}
        for parameter in definitions.parameters:
            for base in parameter.base:
                self._published.setdefault(base, []).append(parameter)
        self._by_url = {parameter.url: parameter for parameter in definitions.parameters}
        self._plans: dict[str, TypePlan] = {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._names: tuple[str, ...] = ()

    def plan(self, type: str) -> TypePlan:
        """Of a resource type; of "Resource", what all have. Nothing for a type that is none."""
        plan = self._plans.get(type)
        if plan is None:
            plan = self._plans[type] = self._planned(type, self._of(type), {}, None)
        return plan

    def decoder(self, plan: TypePlan) -> Callable[[bytes], Any]:
        """Decodes of a body what a plan looks at. Raises msgspec.DecodeError for another one."""
        if plan is not self._plans.get(plan.type):  # a tenant's own
            return msgspec.json.Decoder(shape_of(plan)).decode
        decoder = self._decoders.get(plan.type)
        if decoder is None:
            decoder = self._decoders[plan.type] = msgspec.json.Decoder(shape_of(plan))
        return decoder.decode

    def plan_with(self, type: str, own: Mapping[str, SearchParameter]) -> TypePlan:
        """With a tenant's own parameters, by url, in place of those of the same code."""
        published = self.plan(type)
        added = [parameter for parameter in own.values() if self._is_of(type, parameter)]
        if not added:
            return published
        return self._planned(type, added, own, published)

    def _planned(
        self,
        type: str,
        parameters: Iterable[SearchParameter],
        own: Mapping[str, SearchParameter],
        published: TypePlan | None,
    ) -> TypePlan:
        return plan_type(
            type,
            parameters,
            lambda url: own.get(url) or self._by_url.get(url),
            self.definitions,
            self.expressions,
            published,
        )

    def names(self) -> tuple[str, ...]:
        """Of all paths, sorted."""
        if not self._names:
            names = {name for type in (_ALL_TYPES, *self.types) for name in self.plan(type).names}
            self._names = tuple(sorted(names))
        return self._names

    def _of(self, type: str) -> list[SearchParameter]:
        if type != _ALL_TYPES and type not in self.types:
            return []
        found = [
            parameter
            for base in dict.fromkeys((*_ABSTRACT, type))
            for parameter in self._published.get(base, ())
            if self._is_of(type, parameter)
        ]
        return list({parameter.code: parameter for parameter in found}.values())

    def concerned(self, parameter: SearchParameter) -> list[str]:
        """The types that have a parameter."""
        return [type for type in (_ALL_TYPES, *self.types) if self._is_of(type, parameter)]

    def _is_of(self, type: str, parameter: SearchParameter) -> bool:
        if type in parameter.base or _ALL_TYPES in parameter.base:
            return True
        model = self.definitions.types.get(type)
        return (
            "DomainResource" in parameter.base
            and model is not None
            and any(element.name == "text" for element in model.elements)
        )


Published = Definitions | Release
Own = bytes | Mapping[str, Any]  # a SearchParameter resource


class TenantSearch:
    """SearchDefinitions of one tenant. Compiles what a type needs when it is first needed."""

    def __init__(
        self,
        release: Release,
        own: Mapping[str, SearchParameter],
        *,
        generation: int,
        keys: Keys,
        path_numbers: Mapping[str, int],
        readers: Readers,
    ) -> None:
        self._release = release
        self._own = own
        self._generation = generation
        self._keys = keys
        self._numbers = path_numbers
        self._readers = readers
        self._plans: dict[str, TypePlan] = {}
        self._indexers: dict[str, Indexer] = {}

    @property
    def generation(self) -> int:
        """Grows with every change."""
        return self._generation

    @property
    def definitions(self) -> Definitions:
        """The release's."""
        return self._release.definitions

    def parameter(self, type: str, code: str) -> Parameter | None:
        """A parameter of a resource type by its code; `type` "": of all types."""
        return self._plan(type).parameters.get(code)

    def parameters(self, type: str) -> Sequence[Parameter]:
        """All of a type, in order of their codes."""
        return tuple(self._plan(type).parameters.values())

    def refused(self, type: str) -> Mapping[str, str]:
        """Published parameters that are not supported, by code, and why."""
        return self._plan(type).refused

    def rows(self, type: str, body: bytes) -> Rows:
        """The index rows of a stored body. Pure; may be called in any thread."""
        indexer = self._indexers.get(type)
        if indexer is None:
            plan = self._plan(type)
            decode = self._release.decoder(plan)
            indexer = Indexer(plan, self._numbers, self._keys, self._readers, decode)
            self._indexers[type] = indexer
        return indexer.rows(body)

    def compartment(self, compartment: str) -> Mapping[str, Sequence[Parameter]]:
        """By resource type, the parameters that put a resource into it (DESIGN 7).

        The compartment's own resource is not among them, unless others of its type are in it.
        """
        found: dict[str, tuple[Parameter, ...]] = {}
        published = self.definitions.compartments.get(compartment, {})
        for type in self._release.types:
            left_out = (_ITSELF, *_LEFT_OUT.get((compartment, type), ()))
            codes = (*published.get(type, ()), *_ADDED.get((compartment, type), ()))
            parameters = tuple(
                parameter
                for code in dict.fromkeys(codes)
                if code not in left_out and (parameter := self.parameter(type, code)) is not None
            )
            if parameters:
                found[type] = parameters
        return found

    def _plan(self, type: str) -> TypePlan:
        if not self._own:
            return self._release.plan(type or _ALL_TYPES)
        plan = self._plans.get(type)
        if plan is None:
            plan = self._plans[type] = self._release.plan_with(type or _ALL_TYPES, self._own)
        return plan


def build_search(
    definitions: Published,
    *,
    own: Sequence[Own],
    generation: int,
    secret: bytes,
    path_numbers: Mapping[str, int],
    base_urls: Sequence[str],
    zone: tzinfo = UTC,
) -> TenantSearch:
    """The definitions of one tenant. `own` are its SearchParameters, of which the active ones
    count; `path_numbers` has a number for each of `path_names`.

    Raises OwnParameterInvalid and ExpressionNotSupported, as `path_names`.
    """
    release = _release(definitions)
    added = _checked(release, own)
    readers = Readers(StringReader(), DateReader(zone), ReferenceReader(base_urls, release.types))
    return TenantSearch(
        release,
        added,
        generation=generation,
        keys=Keys(secret),
        path_numbers=path_numbers,
        readers=readers,
    )


def path_names(definitions: Published, own: Sequence[Own]) -> Sequence[str]:
    """The names of all paths that need a number, sorted.

    Raises OwnParameterInvalid for an own parameter that is none, ExpressionNotSupported for one
    that cannot be done here; each names the parameter.
    """
    release = _release(definitions)
    added = _checked(release, own)
    names = set(release.names())
    if added:
        for type in (_ALL_TYPES, *release.types):
            names.update(release.plan_with(type, added).names)
    return sorted(names)


def _release(definitions: Published) -> Release:
    return definitions if isinstance(definitions, Release) else Release(definitions)


def _checked(release: Release, own: Sequence[Own]) -> Mapping[str, SearchParameter]:
    """Own parameters by url. Those that are not active are left out."""
    found = (own_parameter(resource, release.types) for resource in own)
    added = {parameter.url: parameter for parameter in found if parameter is not None}
    for parameter in added.values():
        for type in release.concerned(parameter):
            reason = release.plan_with(type, added).refused.get(parameter.code)
            if reason is not None:
                raise refused(parameter, reason)
    return added
