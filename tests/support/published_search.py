"""The published search parameters without the index behind them: what a parser needs to know."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import cached_property

from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import Definitions, SearchKind
from engine.fhir.search.query import ParsedSearch, SearchContext, parse_search
from engine.fhir.search.rows import Rows
from engine.fhir.search.tree import Criterion, Parameter, Path
from engine.instant import parse_instant

NOW_MS = parse_instant("2026-11-21T00:00:00Z", name="now")
BASE_URL = "https://fhir.example.org/fhir/acme"
CONTEXT = SearchContext(now_ms=NOW_MS, zone=UTC, base_urls=(BASE_URL,))


class PublishedSearch:
    """SearchDefinitions of FHIR R4. A path's name is the type and the code of its parameter."""

    generation = 1

    @cached_property
    def definitions(self) -> Definitions:
        return load_definitions()

    @cached_property
    def _by_type(self) -> dict[str, dict[str, Parameter]]:
        of_all = {"Resource", "DomainResource"}
        types = sorted({base for one in self.definitions.parameters for base in one.base} - of_all)
        found: dict[str, dict[str, Parameter]] = {type: {} for type in ["", *types]}
        kinds = {one.url: one for one in self.definitions.parameters}
        for one in self.definitions.parameters:
            if one.kind is SearchKind.SPECIAL:
                continue
            shared = not of_all.isdisjoint(one.base)
            for type in ["", *types] if shared else one.base:
                found[type][one.code] = Parameter(
                    type=type,
                    code=one.code,
                    kind=one.kind,
                    paths=(Path(f"{'Resource' if shared else type}.{one.code}", single=False),),
                    targets=one.targets,
                    components=tuple(
                        Parameter("", kinds[part.definition].code, kinds[part.definition].kind, ())
                        for part in one.components
                    ),
                    url=one.url,
                )
        return found

    def parameter(self, type: str, code: str) -> Parameter | None:
        return self._by_type.get(type, {}).get(code)

    def parameters(self, type: str) -> Sequence[Parameter]:
        return [self._by_type[type][code] for code in sorted(self._by_type.get(type, {}))]

    def refused(self, type: str) -> Mapping[str, str]:
        special = SearchKind.SPECIAL
        found = [one for one in self.definitions.parameters if one.kind is special]
        return {one.code: "it is special" for one in found if type in one.base}

    def rows(self, type: str, body: bytes) -> Rows:
        raise NotImplementedError("a parser reads no resource")

    def compartment(self, compartment: str) -> Mapping[str, Sequence[Parameter]]:
        return {
            type: [self._by_type[type][code] for code in codes if code != "{def}"]
            for type, codes in self.definitions.compartments[compartment].items()
        }


SEARCH = PublishedSearch()


def parse(
    type: str | None, *pairs: tuple[str, str], lenient: bool = False, **context: object
) -> ParsedSearch:
    """A query as it is understood, strictly unless it is said otherwise."""
    changed = {name: getattr(CONTEXT, name) for name in CONTEXT.__struct_fields__} | context
    return parse_search(
        pairs, type=type, search=SEARCH, lenient=lenient, context=SearchContext(**changed)
    )


def criterion(type: str | None, name: str, value: str) -> Criterion:
    """What one parameter of a strict query asks for."""
    (only,) = parse(type, (name, value)).query.criteria
    return only
