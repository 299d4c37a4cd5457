"""The query of a search: from the names and values of a query string to the query tree.

Pure: what depends on the tenant, the time and the address comes in with the context. Source:
FHIR R4 search.html; the rules, with the choices that the specification leaves, are in
docs/search.md.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo

import msgspec

from engine.errors import BadParameter, BadRequest, TooCostly, UnknownParameter, WithoutEffect
from engine.fhir.ids import ID_RULE, is_id
from engine.fhir.search.criteria import Criteria
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.includes import INCLUDE, INCLUDES_MAX, REVINCLUDE, parse_include
from engine.fhir.search.parse_values import Reading
from engine.fhir.search.results import (
    CURSOR,
    FORMS,
    ResultParameters,
    Summary,
    Total,
    is_result_parameter,
    understand,
)
from engine.fhir.search.scope import Scope, shown
from engine.fhir.search.tree import Compartment, Criterion, Ids, Include, Nothing, Query
from engine.model import Issue

COUNT_MAX = 1_000  # resources on a page, unless the context says another number
PARAMETERS_MAX = 500  # names with values

_TYPE = "_type"
_EVERYTHING = Ids((), negated=True)
# What search.html#versions asks for where the version of a reference is not looked at.
_UNVERSIONED = Issue(
    severity="warning",
    code="processing",
    diagnostics="references are compared without their version: what refers to another version of "
    "the resource is found, too",
)


class SearchContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the meaning of a query depends on beside its text."""

    now_ms: int
    zone: tzinfo = UTC  # of dates without one
    base_urls: tuple[str, ...] = ()  # of the tenant: references under them are local
    compartment: tuple[str, str] | None = None  # type and id of the one that is searched
    count_max: int = COUNT_MAX  # what a larger _count becomes


class ParsedSearch(msgspec.Struct, frozen=True, kw_only=True):
    """A search as it was understood."""

    query: Query
    # For the self link, in the order given but for _type, which comes first; without the cursor
    # and the form of the answer. Parsed again, it gives the same search.
    understood: tuple[tuple[str, str], ...]
    issues: tuple[Issue, ...] = ()  # what was left out, or done in another way, and why
    count: int | None = None  # resources on a page, at most the maximum; None: not given
    total: Total | None = None
    summary: Summary | None = None
    elements: tuple[str, ...] = ()
    cursor: str = ""  # as it was given, still sealed

    @property
    def only_total(self) -> bool:
        """Whether no resource is wanted, only how many there are."""
        return self.count == 0 or self.summary is Summary.COUNT


def parse_search(
    pairs: Sequence[tuple[str, str]],
    *,
    type: str | None,
    search: SearchDefinitions,
    lenient: bool,
    context: SearchContext,
) -> ParsedSearch:
    """Understand a search of one type, or of several (`type` None), by its decoded parameters.

    Strict: what is unknown, or has no value, raises UnknownParameter or WithoutEffect; lenient:
    it becomes a warning and is left out. Everything else that is wrong is an error in both:
    BadParameter, NotSupported, TooCostly, each with the parameter as `expression`.
    """
    parsing = _Parsing(search, context, lenient=lenient)
    if len(pairs) > PARAMETERS_MAX:
        raise TooCostly(f"the query has more than {PARAMETERS_MAX} parameters: send fewer")
    parsing.choose_types(type, pairs)
    for name, value in pairs:
        parsing.take(name, value)
    return parsing.finish()


class _Parsing:
    """What is known of one query so far."""

    def __init__(self, search: SearchDefinitions, context: SearchContext, *, lenient: bool) -> None:
        self._scope = Scope(search, ())
        self._context = context
        self._lenient = lenient
        self._criteria = Criteria(
            Reading(
                definitions=search.definitions,
                now_ms=context.now_ms,
                zone=context.zone,
                base_urls=tuple(url.rstrip("/") for url in context.base_urls),
            )
        )
        self._found: dict[Criterion, None] = {}  # each once, in order
        self._includes: dict[Include, None] = {}
        self._include_count = 0
        self._results = ResultParameters()
        self._understood: list[tuple[str, str]] = []
        self._issues: list[Issue] = []

    # Types and compartment, which all else depends on.

    def choose_types(self, type: str | None, pairs: Sequence[tuple[str, str]]) -> None:
        if type is not None:
            self._scope = self._scope.narrowed(self._scope.check_type(type))
        if self._context.compartment is not None:
            self._enter(*self._context.compartment)
        for name, value in pairs:
            if name.partition(":")[0] == _TYPE:
                self._try(name, value, lambda name, value: self._narrow(type, name, value))

    def _enter(self, type: str, id: str) -> None:
        search = self._scope.search
        if type not in search.definitions.compartments:
            raise BadParameter(f"'{shown(type)}' is not a compartment of FHIR R4")
        if not is_id(id):
            raise BadParameter(f"the id of a compartment has {ID_RULE}")
        members = search.compartment(type)
        inside = {type, *members}
        types = self._scope.types or tuple(sorted(inside))
        if not inside.issuperset(types):
            raise BadParameter(f"{types[0]} is not part of the compartment of a {type}")
        self._scope = self._scope.narrowed(*types)
        parameters = tuple(one for member in types for one in members.get(member, ()))
        self._add(Compartment(type, id, parameters, itself=type in types))

    def _narrow(self, type: str | None, name: str, value: str) -> str:
        if name != _TYPE:
            raise BadParameter(f"{_TYPE} takes no modifier: leave it out")
        if type is not None:
            raise BadParameter(
                f"{_TYPE} belongs to a search over several types: leave it out in one over {type}"
            )
        if not value:
            raise WithoutEffect("it has no value: leave the parameter out, or give it one")
        named = dict.fromkeys(map(self._scope.check_type, value.split(",")))
        kept = tuple(one for one in named if not self._scope.types or one in self._scope.types)
        if not kept:
            self._add(Nothing())
        self._scope = self._scope.narrowed(*(kept or named))
        return value

    # One parameter after the other.

    def take(self, name: str, value: str) -> None:
        code = name.partition(":")[0]
        if code == _TYPE:
            return  # taken first
        if code in (INCLUDE, REVINCLUDE):
            self._try(name, value, self._take_include)
        elif is_result_parameter(name):
            self._try(name, value, self._take_result)
        else:
            self._try(name, value, self._take_criterion)

    def _try(self, name: str, value: str, take: Callable[[str, str], str | None]) -> None:
        """Take one parameter; leave it out with a warning if that is allowed. What takes it says
        how it was understood; None: that is not the search's to tell."""
        try:
            meant = take(name, value)
        except BadRequest as error:
            error.expression = shown(name)
            if not self._lenient or not isinstance(error, UnknownParameter | WithoutEffect):
                raise
            self._issues.append(
                Issue(
                    severity="warning",
                    code=error.code,
                    diagnostics=f"ignored: {error}",
                    expression=error.expression,
                )
            )
        else:
            if meant is not None:
                self._understood.append((name, meant))

    def _take_criterion(self, name: str, value: str) -> str:
        for one in self._criteria.split_version(self._scope, name, value):
            self._add(self._criteria.parse(self._scope, *one))
        return value

    def _add(self, criterion: Criterion) -> None:
        if criterion != _EVERYTHING:
            self._found.setdefault(criterion)

    def _take_include(self, name: str, value: str) -> str:
        self._include_count += 1
        if self._include_count > INCLUDES_MAX:
            raise TooCostly(f"the query has more than {INCLUDES_MAX} includes: send fewer")
        self._includes |= dict.fromkeys(parse_include(self._scope, name, value))
        return value

    def _take_result(self, name: str, value: str) -> str | None:
        self._results = understand(
            self._results, self._scope, name, value, count_max=self._context.count_max
        )
        if name in FORMS or name == CURSOR:
            return None
        return str(self._results.count) if name == "_count" else value

    def finish(self) -> ParsedSearch:
        results = self._results
        if results.summary is Summary.TEXT and self._includes:
            raise BadParameter(
                "_summary=text does not go with includes: leave one out", expression="_summary"
            )
        if self._criteria.unversioned:
            self._issues.append(_UNVERSIONED)
        return ParsedSearch(
            query=Query(
                types=self._scope.types,
                criteria=tuple(self._found),
                sort=results.sort,
                includes=tuple(self._includes),
            ),
            understood=tuple(self._understood),
            issues=tuple(self._issues),
            count=results.count,
            total=results.total,
            summary=results.summary,
            elements=results.elements,
            cursor=results.cursor,
        )
