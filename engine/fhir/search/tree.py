"""The query tree: what a search asks for, checked, typed and free of text to be parsed.

Made by `engine.fhir.search.query` from a query string, evaluated by a backend. Source: FHIR R4
search.html. Values of one criterion are alternatives (OR); criteria are joined by AND.
"""

import enum

import msgspec

from engine.fhir.definitions.model import SearchKind

TIME_MIN, TIME_MAX = -(1 << 62), 1 << 62  # the ends of an open range, in milliseconds


class Prefix(enum.StrEnum):
    """How an ordered value is compared (search.html#prefix)."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"
    AP = "ap"


class Modifier(enum.StrEnum):
    """Modifiers that change how a value is compared (search.html#modifiers). `:missing`,
    `:[type]` and `:identifier` have nodes or values of their own."""

    NONE = ""
    EXACT = "exact"
    CONTAINS = "contains"
    NOT = "not"
    OF_TYPE = "of-type"
    ABOVE = "above"
    BELOW = "below"


# Values.


class Token(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`system|code`. None: that side was not given; "" for the system: there must be none."""

    system: str | None
    code: str | None


class TypedIdentifier(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`:of-type`: `system|code|value` of one Identifier."""

    system: str
    code: str
    value: str


class Text(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """Of a string or uri parameter, as given."""

    text: str


class Instant(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """A date as the half-open range [lo_ms, hi_ms) of its precision. `ap` is widened already."""

    prefix: Prefix
    lo_ms: int
    hi_ms: int


class Number(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """A number and the half-open range [lo, hi) that its written precision implies; with `ap`,
    of all that is within 10 % of it."""

    prefix: Prefix
    value: float
    lo: float
    hi: float


class Quantity(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """A number with a unit. `system` None and `unit` None: any; `system` None: `unit` is a unit
    or a code; `system` "": there is no system."""

    number: Number
    system: str | None
    unit: str | None


class Reference(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """A reference. Local: `id` with the types it may have, `version` if one was named. Else an
    absolute `url`, or a canonical one with `version` after its `|`."""

    types: tuple[str, ...] = ()
    id: str = ""
    version: str = ""
    url: str = ""


class Composite(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """One value for each component of a composite parameter."""

    parts: "tuple[Value, ...]"


Value = Token | TypedIdentifier | Text | Instant | Number | Quantity | Reference | Composite


# Parameters, as the registry of a tenant resolves them for one resource type.


class Path(msgspec.Struct, frozen=True):
    """One element that a parameter looks at. `name` is its identity in the index: the type, the
    element path and its where(), such as `Observation.code` or
    `Patient.telecom.where(system='phone')`.

    References of one element stand at one of several paths where a parameter asks for a type:
    those to patients at `Observation.subject.where(resolve() is Patient)`, all others at
    `Observation.subject`. So `patient` has the first path, and `subject` has both.
    """

    name: str
    single: bool  # no resource has more than one value there
    target: str = ""  # only references to this type stand there
    others: tuple[str, ...] = ()  # references to these types stand at paths of their own
    folded: bool = False  # tokens of type string: case does not count, so theirs is folded there

    def holds(self, type: str) -> bool:
        """Whether a reference to a resource of this type may stand there."""
        return type == self.target if self.target else type not in self.others


class Parameter(msgspec.Struct, frozen=True):
    """A search parameter of one resource type; of none ("") in a search over all types.

    A composite has one path for each place where its components meet, and each component as
    many: `components[j].paths[i]` is what its j-th component looks at in the i-th place, and
    where the dictionary has its tokens. `paths[i]` with the keys of all but the ordered last
    component gives the key of the last one's rows; of all components, if none is ordered, the
    posting (`keys.Keys.composite`).
    """

    type: str
    code: str
    kind: SearchKind
    paths: tuple[Path, ...]
    targets: tuple[str, ...] = ()
    components: "tuple[Parameter, ...]" = ()  # of a composite, in order of definition
    url: str = ""


# Criteria.


class Compare(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """Some value of the parameter is one of these. With NOT: none of its values is one of
    these, and a resource without a value matches.

    BELOW on a reference: it points to one of these, or to a live resource from which one of
    these is reached by steps along `hierarchy`, such as `Location.partof`. ABOVE: to one of these
    or to what they reach.
    """

    parameter: Parameter
    values: tuple[Value, ...]
    modifier: Modifier = Modifier.NONE
    hierarchy: tuple[Parameter, ...] = ()  # each points to resources of its own type


class Missing(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`:missing`."""

    parameter: Parameter
    missing: bool


class ReferenceIdentifier(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`:identifier`: the reference's own identifier element is one of these."""

    parameter: Parameter
    values: tuple[Token, ...]


class Chain(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """The parameter points to a live resource that matches one of these criteria, each with the
    type it applies to."""

    parameter: Parameter
    targets: "tuple[tuple[str, Criterion], ...]"


class Has(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """A resource of type `parameter.type` that matches points here by this parameter."""

    parameter: Parameter
    criterion: "Criterion"


class Compartment(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """One of these reference parameters points to Type/id; or it is that resource itself."""

    type: str
    id: str
    parameters: tuple[Parameter, ...]  # of the types searched; each with its type
    itself: bool = False


class Listed(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`_list`: an entry of the List of this id points here."""

    id: str


class Ids(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`_id`."""

    ids: tuple[str, ...]
    negated: bool = False  # none of these; without any ids: every resource


class Updated(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """`_lastUpdated`; one of these."""

    values: tuple[Instant, ...]


class Nothing(msgspec.Struct, frozen=True, tag=True, tag_field="node"):
    """Matches no resource: a chain to a type that cannot be there, an unknown code system."""


Criterion = (
    Compare
    | Missing
    | ReferenceIdentifier
    | Chain
    | Has
    | Compartment
    | Listed
    | Ids
    | Updated
    | Nothing
)


# The whole query.


class SortKey(msgspec.Struct, frozen=True):
    """One key of `_sort`. `parameter` None: `_lastUpdated`; `by_id`: `_id`."""

    parameter: Parameter | None
    descending: bool = False
    by_id: bool = False


class Include(msgspec.Struct, frozen=True):
    """`_include` (forward) or `_revinclude`. The parameters are those of one source type; for a
    wildcard, all its references."""

    source: str
    parameters: tuple[Parameter, ...]
    target: str = ""  # only targets of this type; "" for any
    iterate: bool = False
    reverse: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to find and in which order. Paging, totals and the form of the answer are the
    caller's."""

    types: tuple[str, ...]  # to be searched; () for all
    criteria: tuple[Criterion, ...] = ()
    sort: tuple[SortKey, ...] = ()
    includes: tuple[Include, ...] = ()
