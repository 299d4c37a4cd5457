"""Criteria: from one `name=value` of a query to a node of the query tree.

A name is a code with an optional modifier, a chain of references (`subject:Patient.name`), or a
reverse chain (`_has:Observation:patient:code`); they nest. Source: FHIR R4 search.html, "Chained
Parameters", "Reverse Chaining", "Modifiers", "Parameters for all resources".
"""

from collections.abc import Callable

from engine.errors import (
    BadParameter,
    BadRequest,
    NotSupported,
    TooCostly,
    UnknownParameter,
    WithoutEffect,
)
from engine.fhir.definitions.model import SearchKind
from engine.fhir.ids import ID_RULE, is_id
from engine.fhir.search.escaping import split, unescape
from engine.fhir.search.modifiers import IDENTIFIER, MISSING, check_modifier, parse_missing
from engine.fhir.search.parse_values import Reading, instant, is_resource_type, parse_value, token
from engine.fhir.search.scope import Scope, shown
from engine.fhir.search.tree import (
    Chain,
    Compare,
    Criterion,
    Has,
    Ids,
    Listed,
    Missing,
    Modifier,
    Nothing,
    Parameter,
    Reference,
    ReferenceIdentifier,
    Updated,
    Value,
)

# What one query may ask for. A page of ids that a client looks up at once fits in each many times.
VALUES_MAX = 2_000  # as they are written
DEPTH_MAX = 8  # steps of chains, reverse ones included
BRANCHES_MAX = 1_000  # types that untyped chains go on in
COMPARISONS_MAX = 50_000  # values times the types they are looked for in

# Known to the specification, and left out: what they would narrow is not what is asked for.
_NOT_HERE = frozenset({"_text", "_content", "_filter", "_query"})
# Of the search as a whole: no chain holds them.
_OUTERMOST = frozenset({"_type"})


class Criteria:
    """Reads the criteria of one query, and counts what they cost together."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._values = 0
        self._branches = 0
        self._comparisons = 0
        self.unversioned = False  # whether a reference named a version, which is not compared

    def parse(self, scope: Scope, name: str, value: str) -> Criterion:
        """One parameter of a query as a criterion.

        Raises UnknownParameter; WithoutEffect if the value is empty; BadParameter, NotSupported,
        TooCostly. The caller knows the parameter as it was given, and adds it to the error.
        """
        if not value:
            raise WithoutEffect("it has no value: leave the parameter out, or give it one")
        self._values += len(split(value, ","))
        if self._values > VALUES_MAX:
            raise TooCostly(
                f"the query has more than {VALUES_MAX} values: send it in several requests"
            )
        return self._criterion(scope, name, value, 0)

    def split_version(self, scope: Scope, name: str, value: str) -> list[tuple[str, str]]:
        """`url=url|version` of a canonical resource asks for two of its parameters: these. All
        else is returned as it is."""
        pieces = split(value, "|") if name == "url" and "|" in value else []
        if len(pieces) != 2 or not all(pieces) or len(split(value, ",")) > 1:
            return [(name, value)]
        if not _is_versioned(scope, scope.parameter(name)):
            return [(name, value)]
        return [("url", pieces[0]), ("version", pieces[1])]

    def _criterion(self, scope: Scope, name: str, value: str, depth: int) -> Criterion:
        if depth > DEPTH_MAX:
            raise TooCostly(f"the chain has more than {DEPTH_MAX} steps: shorten it")
        if name.startswith("_has:"):
            return self._has(scope, name, value, depth)
        head, dot, rest = name.partition(".")
        code, colon, modifier = head.partition(":")
        if colon and not modifier:
            raise BadParameter(f"a modifier is missing after '{shown(head)}'")
        if dot:
            return self._chain(scope.parameter(code), modifier, rest, value, scope, depth)
        if code in _NOT_HERE:
            raise NotSupported(f"{code} is not supported by this server: use other parameters")
        if code in _OUTERMOST:
            raise BadParameter(f"{code} belongs to the search as a whole: it ends no chain")
        special = self._special(code)
        if special is not None:
            return special(code, modifier, self._alternatives(value))
        return self._compare(scope, scope.parameter(code), modifier, value)

    # Chains.

    def _chain(
        self, parameter: Parameter, modifier: str, rest: str, value: str, scope: Scope, depth: int
    ) -> Criterion:
        if parameter.kind is not SearchKind.REFERENCE:
            raise UnknownParameter(
                f"'{parameter.code}' is a {parameter.kind} parameter: only a reference goes on "
                "after a dot"
            )
        self._spend_branch()  # also if it leads nowhere: looking for a way on costs, too
        targets = parameter.targets or scope.narrowed().all_types()
        if modifier:
            if scope.check_type(modifier) not in targets:
                raise BadParameter(
                    f"'{parameter.code}' never points to {modifier}: use one of {_listed(targets)}"
                )
            targets = (modifier,)
        found, errors = [], []
        for target in targets:
            try:
                criterion = self._criterion(scope.narrowed(target), rest, value, depth + 1)
            except TooCostly:
                raise
            except BadRequest as error:
                errors.append(error)
            else:
                self._spend_branch()
                found.append((target, criterion))
        if not found:
            raise _nowhere(parameter, rest, errors)
        return Chain(parameter, tuple(found))

    def _has(self, scope: Scope, name: str, value: str, depth: int) -> Criterion:
        pieces = name.split(":", 3)
        if len(pieces) < 4 or not all(pieces):
            raise BadParameter(
                "a reverse chain is _has:Type:reference:parameter, such as "
                "_has:Observation:patient:code"
            )
        _, type, code, rest = pieces
        inner = scope.narrowed(scope.check_type(type))
        parameter = inner.parameter(code)
        if parameter.kind is not SearchKind.REFERENCE or not scope.reaches(parameter):
            raise BadParameter(
                f"'{code}' of {type} is no reference to what is searched: name one that is"
            )
        self._spend_branch()
        return Has(parameter, self._criterion(inner, rest, value, depth + 1))

    def _spend_branch(self) -> None:
        self._branches += 1
        if self._branches > BRANCHES_MAX:
            raise TooCostly(
                f"the chains go on in more than {BRANCHES_MAX} types: name the type of each step, "
                "as in subject:Patient.name"
            )

    # Comparisons.

    def _compare(self, scope: Scope, parameter: Parameter, modifier: str, value: str) -> Criterion:
        if modifier == MISSING and parameter.kind is not SearchKind.COMPOSITE:
            return Missing(parameter, parse_missing(value))
        type = ""
        if is_resource_type(self._reading.definitions, modifier):
            type, modifier = self._type_of(parameter, modifier), ""
        if modifier:
            check_modifier(parameter.kind, parameter.code, modifier)
        pieces = self._alternatives(value)
        self._spend_comparisons(len(pieces))
        versioned = any(len(split(piece, "|")) > 1 for piece in pieces)
        if versioned and _is_versioned(scope, parameter):
            raise NotSupported(
                "url|version is understood as a single value, without a modifier and outside of "
                "chains: ask for the version by the parameter 'version'"
            )
        if modifier == IDENTIFIER:
            return ReferenceIdentifier(parameter, tuple(map(token, pieces)))
        by = Modifier(modifier)
        values = tuple(
            dict.fromkeys(
                parse_value(parameter, piece, self._reading, modifier=by, type=type)
                for piece in pieces
            )
        )
        references = [one for one in values if isinstance(one, Reference)]
        self._spend_comparisons(sum(len(one.types) - 1 for one in references if one.types))
        self.unversioned |= any(one.id and one.version for one in references)
        if parameter.kind is SearchKind.REFERENCE and by is not Modifier.NONE:
            return self._along(scope, parameter, values, by)
        return Compare(parameter, values, by)

    def _type_of(self, parameter: Parameter, type: str) -> str:
        if parameter.kind is not SearchKind.REFERENCE:
            raise BadParameter(
                f"'{parameter.code}' is a {parameter.kind} parameter: only a reference takes a "
                "type as its modifier"
            )
        if parameter.targets and type not in parameter.targets:
            raise BadParameter(
                f"'{parameter.code}' never points to {type}: use one of "
                f"{_listed(parameter.targets)}"
            )
        return type

    def _along(
        self, scope: Scope, parameter: Parameter, values: tuple[Value, ...], by: Modifier
    ) -> Criterion:
        """`:above` and `:below` of a reference: what stands over or under a resource."""
        references = [value for value in values if isinstance(value, Reference)]
        if any(one.version for one in references):
            raise NotSupported(
                f":{by} with a version is not supported: give a reference without one"
            )
        if by is Modifier.BELOW and all(one.url for one in references):
            return Compare(parameter, values)  # a canonical url: every version of it
        if any(one.url for one in references):
            raise NotSupported(
                f":{by} of a reference goes along resources of this server: give an id or Type/id"
            )
        types = dict.fromkeys(type for one in references for type in one.types)
        hierarchy = scope.hierarchy(tuple(types))
        if not hierarchy:
            raise BadParameter(
                f":{by} needs a hierarchy such as Location.partof, and what '{parameter.code}' "
                "points to has none: leave the modifier out, or name another type"
            )
        return Compare(parameter, values, by, hierarchy)

    def _alternatives(self, value: str) -> list[str]:
        pieces = split(value, ",")
        if not all(piece.strip() for piece in pieces):
            raise BadParameter(
                r"one of the values between commas is empty: leave it out, or write '\,' for a "
                "comma of the value"
            )
        return pieces

    def _spend_comparisons(self, count: int) -> None:
        self._comparisons += count
        if self._comparisons > COMPARISONS_MAX:
            raise TooCostly(
                f"the query compares more than {COMPARISONS_MAX} values over all types it goes "
                "on in: give references as Type/id, and name the type of each step of a chain"
            )

    # Parameters of all resources that have nodes of their own.

    def _special(self, code: str) -> Callable[[str, str, list[str]], Criterion] | None:
        return {"_id": self._ids, "_lastUpdated": self._updated, "_list": self._list_of}.get(code)

    def _ids(self, code: str, modifier: str, values: list[str]) -> Criterion:
        if modifier == MISSING:
            return _always_there(values)
        if modifier and modifier != Modifier.NOT:
            check_modifier(SearchKind.TOKEN, code, modifier)
            raise BadParameter("'_id' takes no modifier but :not and :missing")
        ids = tuple(dict.fromkeys(map(unescape, values)))
        if not all(map(is_id, ids)):
            raise BadParameter(f"an id has {ID_RULE}, and no type before it")
        self._spend_comparisons(len(ids))
        return Ids(ids, negated=modifier == Modifier.NOT)

    def _updated(self, code: str, modifier: str, values: list[str]) -> Criterion:
        if modifier:
            check_modifier(SearchKind.DATE, code, modifier)
            return _always_there(values)
        self._spend_comparisons(len(values))
        return Updated(tuple(instant(value, self._reading) for value in values))

    def _list_of(self, code: str, modifier: str, values: list[str]) -> Criterion:
        if modifier:
            raise BadParameter(f"'{code}' takes no modifier: leave it out")
        if len(values) > 1:
            raise BadParameter(f"'{code}' takes one List: repeat it for what is in all of several")
        id = unescape(values[0])
        if id.startswith("$"):
            raise NotSupported("functional lists such as $current-problems are not supported")
        if not is_id(id):
            raise BadParameter(f"a value of '{code}' is the id of a List: {ID_RULE}")
        return Listed(id)


def _is_versioned(scope: Scope, parameter: Parameter) -> bool:
    """Whether this is the url by which canonical references name a resource with its version."""
    return (
        parameter.code == "url"
        and parameter.kind is SearchKind.URI
        and all(scope.search.parameter(type, "version") is not None for type in scope.types)
    )


def _always_there(values: list[str]) -> Criterion:
    """`:missing` of what every resource has."""
    return Nothing() if parse_missing(",".join(values)) else Ids((), negated=True)


def _nowhere(parameter: Parameter, rest: str, errors: list[BadRequest]) -> BadRequest:
    """Why no target of a chain goes on: a bad value says more than that a name is unknown."""
    for error in errors:
        if not isinstance(error, UnknownParameter):
            return error
    if len(errors) == 1:
        return errors[0]
    return UnknownParameter(
        f"nothing that '{parameter.code}' points to has a parameter '{shown(rest)}'"
    )


def _listed(types: tuple[str, ...]) -> str:
    return ", ".join(types[:8]) + (" ..." if len(types) > 8 else "")
