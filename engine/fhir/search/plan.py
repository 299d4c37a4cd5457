"""What is to be indexed of a resource type, and what its search parameters look at.

One plan serves all stores: it has names of paths, not their numbers. Source: FHIR R4 search.html.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product

import msgspec

from engine.fhir.definitions.model import Component, Definitions, SearchKind, SearchParameter
from engine.fhir.search.expressions import Chain, ElementPath, Expressions, Get, json_name
from engine.fhir.search.fhirpath import ExpressionNotSupported
from engine.fhir.search.keys import IDENTIFIER_SUFFIX, OF_TYPE_SUFFIX
from engine.fhir.search.readers import READABLE, SEVERAL
from engine.fhir.search.tree import Parameter, Path

ORDERED = (SearchKind.STRING, SearchKind.DATE, SearchKind.NUMBER, SearchKind.QUANTITY)
# Every resource has them as columns of the store: they need no rows of the index.
WITHOUT_ROWS = ("_id", "_lastUpdated")
# Published with the definitions of its two components exchanged: relation is the code, relatesto
# the target. The expressions are right, and so is its description, "relation and relatesTo".
EXCHANGED = frozenset(("http://hl7.org/fhir/SearchParameter/DocumentReference-relationship",))
PLACES_MAX = 16  # of one composite: alternatives of its expression and of its components


class Leaf(msgspec.Struct, frozen=True):
    """Values of one FHIR type at one path. A uri is indexed as a token."""

    kind: SearchKind
    name: str
    chain: Chain
    folded: bool = False  # a token without regard to case


class ReferenceLeaf(msgspec.Struct, frozen=True):
    """References at one element, at the path of their target's type or else at `rest`."""

    chain: Chain
    by_type: dict[str, str]  # name of the path
    rest: str  # "" if no parameter asks for all


class Part(msgspec.Struct, frozen=True):
    """One component of a composite: chains below the place's."""

    kind: SearchKind
    name: str  # of its path, where the dictionary has its tokens
    chains: tuple[Chain, ...]
    folded: bool = False  # a token without regard to case


class Place(msgspec.Struct, frozen=True):
    """Where components of a composite meet, in one element at a time."""

    name: str
    chain: Chain
    keys: tuple[Part, ...]  # tokens and references
    last: Part | None  # the ordered one; None: the keys are all


class TypePlan(msgspec.Struct, frozen=True):
    """All of one resource type."""

    type: str  # "Resource": of all types, what a search over all can ask for
    parameters: dict[str, Parameter]  # by code, in order of codes
    refused: dict[str, str]  # codes of parameters that are not supported here, and why
    leaves: tuple[Leaf, ...]
    references: tuple[ReferenceLeaf, ...]
    places: tuple[Place, ...]
    names: tuple[str, ...]  # of the paths that need a number
    indexed: frozenset[tuple[str, SearchKind]]  # names, and the kinds of parameter they serve
    partition: dict[str, dict[str, str]]  # references: element, type, name of the path


def plan_type(
    type: str,
    parameters: Iterable[SearchParameter],
    by_url: Callable[[str], SearchParameter | None],
    definitions: Definitions,
    expressions: Expressions,
    published: TypePlan | None = None,
) -> TypePlan:
    """The plan of a type with these parameters. One that is not supported is named in `refused`.

    With `published`, the parameters are a tenant's own and are added: all that the published
    ones need stays indexed, and a path that they do not share gets a name of its own, so a
    parameter may come and go without touching what others find.
    """
    draft = _Draft(type, by_url, definitions, expressions, published)
    parameters = sorted(parameters, key=lambda parameter: (parameter.code, parameter.url))
    draft.split_references(parameters)
    for parameter in parameters:
        draft.add(parameter)
    return draft.plan()


class _Draft:
    """A plan that grows."""

    def __init__(
        self,
        type: str,
        by_url: Callable[[str], SearchParameter | None],
        definitions: Definitions,
        expressions: Expressions,
        published: TypePlan | None,
    ) -> None:
        self._type = type
        self._shown_type = "" if type == "Resource" else type
        self._by_url = by_url
        self._types = definitions.types
        self._expressions = expressions
        self._own = published is not None
        self._indexed = set(published.indexed if published else ())
        self._parameters = dict(published.parameters if published else {})
        self._refused = dict(published.refused if published else {})
        self._leaves = dict.fromkeys(published.leaves if published else ())
        self._references = {
            _identity(leaf): leaf for leaf in (published.references if published else ())
        }
        self._places = {place.name: place for place in (published.places if published else ())}
        self._partition = dict(published.partition if published else {})

    def add(self, parameter: SearchParameter) -> None:
        """Take in one parameter, or why it is refused."""
        try:
            if parameter.kind is SearchKind.COMPOSITE:
                made = self._composite(parameter)
            elif parameter.kind is SearchKind.REFERENCE:
                made = self._reference(parameter)
            else:
                made = self._simple(parameter)
        except ExpressionNotSupported as error:
            self._refused[parameter.code] = str(error)
            self._parameters.pop(parameter.code, None)
        else:
            self._parameters[parameter.code] = made
            self._refused.pop(parameter.code, None)

    def plan(self) -> TypePlan:
        """All that was added."""
        leaves, references = tuple(self._leaves), tuple(self._references.values())
        places = tuple(self._places.values())
        return TypePlan(
            type=self._type,
            parameters={code: self._parameters[code] for code in sorted(self._parameters)},
            refused=self._refused,
            leaves=leaves,
            references=references,
            places=places,
            names=_names(leaves, references, places),
            indexed=frozenset(self._indexed),
            partition=self._partition,
        )

    def _name(self, name: str, kind: SearchKind) -> str:
        """The name of a path for a kind of parameter. An own parameter shares the rows of the
        published ones or has others, never a number that was given for less than it needs."""
        if self._own and (name, kind) not in self._indexed:
            name = f"{name}:{kind}"
        self._indexed.add((name, kind))
        return name

    # Simple parameters.

    def _simple(self, parameter: SearchParameter) -> Parameter:
        if parameter.code in WITHOUT_ROWS:
            return self._shown(parameter, ())
        if parameter.kind is SearchKind.SPECIAL:
            raise ExpressionNotSupported("parameters of type special are not supported")
        shown = []
        for path in self._paths(parameter):
            name = self._name(path.name, parameter.kind)
            folded = parameter.kind is SearchKind.TOKEN and _is_string(path)
            shown.append(Path(name, _is_single(path), folded=folded))
            for chain in path.chains:
                self._leaves[Leaf(_indexed(parameter.kind), name, chain, folded)] = None
        return self._shown(parameter, shown)

    def _paths(self, parameter: SearchParameter) -> tuple[ElementPath, ...]:
        paths = self._expressions.paths(parameter.expression, self._type)
        readable = self._readable(parameter.kind, paths)
        if not readable:
            raise ExpressionNotSupported(
                f"its expression leads to no value of {self._type} that a parameter of type"
                f" {parameter.kind} can be compared with"
            )
        return readable

    def _readable(self, kind: SearchKind, paths: Iterable[ElementPath]) -> tuple[ElementPath, ...]:
        """The paths without chains to types that are not comparable. What stands in an extension
        is its value."""
        types = READABLE[kind]
        found: dict[str, ElementPath] = {}
        for path in paths:
            chains = [
                chain
                for outer in path.chains
                for chain in (self._in_extension(outer) if outer.type == "Extension" else (outer,))
                if chain.type in types
            ]
            if chains:
                found[path.name] = ElementPath(path.name, tuple(chains), path.target)
        return tuple(found.values())

    def _in_extension(self, chain: Chain) -> Iterable[Chain]:
        for element in self._types["Extension"].elements:
            if element.name == "value":
                for type in element.types:
                    step = Get(json_name(element, type), many=False)
                    yield Chain((*chain.steps, step), type, chain.single)

    def _shown(
        self,
        parameter: SearchParameter,
        paths: Iterable[Path],
        *,
        targets: tuple[str, ...] = (),
        components: tuple[Parameter, ...] = (),
    ) -> Parameter:
        return Parameter(
            type=self._shown_type,
            code=parameter.code,
            kind=parameter.kind,
            paths=tuple(dict.fromkeys(paths)),
            targets=targets,
            components=components,
            url=parameter.url,
        )

    # References.

    def split_references(self, parameters: Iterable[SearchParameter]) -> None:
        """Find the types that published parameters ask for at each element: references to them
        are kept apart there. What they refuse is told when the parameter is added."""
        for parameter in parameters:
            if self._own or parameter.kind is not SearchKind.REFERENCE:
                continue
            with suppress(ExpressionNotSupported):
                for path in self._paths(parameter):
                    by_type = self._partition.setdefault(_element(path), {})
                    if path.target:
                        by_type[path.target] = path.name

    def _reference(self, parameter: SearchParameter) -> Parameter:
        paths = self._paths(parameter)
        shown: list[Path] = []
        for path in paths:
            by_type = self._partition.get(_element(path), {})
            shared = path.target in by_type if path.target else True
            if self._own and not (shared and (path.name, parameter.kind) in self._indexed):
                shown.append(self._apart(path))
                continue
            self._indexed.add((path.name, parameter.kind))
            single = _is_single(path)
            wanted = [path.target] if path.target else list(by_type)
            shown += [Path(by_type[type], single, target=type) for type in wanted]
            if not path.target:
                shown.append(Path(path.name, single, others=tuple(by_type)))
            for chain in path.chains:
                leaf = ReferenceLeaf(chain, by_type, "" if path.target else path.name)
                before = self._references.get(_identity(leaf))
                if before is None or not before.rest:
                    self._references[_identity(leaf)] = leaf
        return self._shown(parameter, shown, targets=_targets(parameter, paths))

    def _apart(self, path: ElementPath) -> Path:
        """A path whose references are indexed once more, for an own parameter."""
        name = self._name(path.name, SearchKind.REFERENCE)
        for chain in path.chains:
            by_type = {path.target: name} if path.target else {}
            leaf = ReferenceLeaf(chain, by_type, "" if path.target else name)
            self._references[(chain, name)] = leaf
        return Path(name, _is_single(path), target=path.target)

    # Composites.

    def _composite(self, parameter: SearchParameter) -> Parameter:
        shapes = [self._shape(component) for component in parameter.components]
        if parameter.url in EXCHANGED:
            shapes.reverse()
        if len(shapes) < 2:
            raise ExpressionNotSupported("a composite has at least two components")
        if any(shape.kind in ORDERED for shape in shapes[:-1]):
            raise ExpressionNotSupported(
                "only the last component of a composite may be a string, date, number or quantity"
            )
        places: list[Path] = []
        made: list[Place] = []
        meetings: list[tuple[Path, ...]] = []
        for base in self._expressions.paths(parameter.expression, self._type):
            for parts in product(*self._alternatives(parameter, shapes, base)):
                place = self._place(base, parts)
                if any(place.name == other.name for other in made):
                    continue
                made.append(place)
                places.append(Path(place.name, False))
                meetings.append(tuple(Path(part.name, False, folded=part.folded) for part in parts))
        if not places or len(places) > PLACES_MAX:
            raise ExpressionNotSupported(f"its components meet in none or in over {PLACES_MAX}")
        self._places.update({place.name: place for place in made})
        components = tuple(
            Parameter(
                type=self._shown_type,
                code=shape.code,
                kind=shape.kind,
                paths=tuple(meeting[at] for meeting in meetings),
                targets=shape.targets,
                url=shape.url,
            )
            for at, shape in enumerate(shapes)
        )
        return self._shown(parameter, places, components=components)

    def _shape(self, component: Component) -> SearchParameter:
        found = self._by_url(component.definition)
        if found is None or found.kind not in READABLE:
            raise ExpressionNotSupported("a component's definition is not known, or no simple one")
        return found

    def _alternatives(
        self, parameter: SearchParameter, shapes: Iterable[SearchParameter], base: ElementPath
    ) -> list[list[Part]]:
        """For each component the parts that it may have: one, with all its chains, if ordered."""
        alternatives = []
        for component, shape in zip(parameter.components, shapes, strict=True):
            paths = self._readable(shape.kind, self._expressions.below(component.expression, base))
            if any(path.target for path in paths) or not paths:
                raise ExpressionNotSupported(
                    f"{component.expression} is not supported in a composite"
                )
            if shape.kind in ORDERED:
                name = "|".join(f"{base.name}.{path.name}" for path in paths)
                chains = tuple(chain for path in paths for chain in path.chains)
                alternatives.append([Part(shape.kind, name, chains)])
            else:
                alternatives.append([self._part(shape.kind, base, path) for path in paths])
        return alternatives

    def _part(self, kind: SearchKind, base: ElementPath, path: ElementPath) -> Part:
        """A token or reference. Its tokens are in the dictionary as those of its own path."""
        name = f"{base.name}.{path.name}"
        if self._own and (name, kind) not in self._indexed:
            name = f"{name}:{kind}"
        folded = kind is SearchKind.TOKEN and _is_string(path)
        return Part(_indexed(kind), name, path.chains, folded)

    def _place(self, base: ElementPath, parts: tuple[Part, ...]) -> Place:
        if len(base.chains) != 1:
            raise ExpressionNotSupported(f"{base.name} has several types")
        name = base.name + "".join("$" + part.name.replace(f"{base.name}.", "") for part in parts)
        name = self._name(name, SearchKind.COMPOSITE)
        keys, last = (parts[:-1], parts[-1]) if parts[-1].kind in ORDERED else (parts, None)
        return Place(name, base.chains[0], keys, last)


def _indexed(kind: SearchKind) -> SearchKind:
    return SearchKind.TOKEN if kind is SearchKind.URI else kind


def _identity(leaf: ReferenceLeaf) -> tuple[Chain, str]:
    """Of the published ones there is one for each chain, whatever parameters ask for it."""
    return leaf.chain, ""


def _element(path: ElementPath) -> str:
    """The name of a reference's path without the type that was asked for."""
    return path.name.removesuffix(f".where(resolve() is {path.target})")


def _is_string(path: ElementPath) -> bool:
    """Whether its tokens are strings, of which search.html#token says that case does not count."""
    return all(chain.type == "string" for chain in path.chains)


def _is_single(path: ElementPath) -> bool:
    return len(path.chains) == 1 and path.chains[0].single and path.chains[0].type not in SEVERAL


def _targets(parameter: SearchParameter, paths: Iterable[ElementPath]) -> tuple[str, ...]:
    """The types that references of a parameter may lead to: those it names, as far as the
    elements allow them."""
    if parameter.kind is not SearchKind.REFERENCE:
        return ()
    allowed: dict[str, None] = {}
    for path in paths:
        for chain in path.chains:
            types = (path.target,) if path.target else chain.targets
            if not types:
                return parameter.targets
            allowed.update(dict.fromkeys(types))
    if "Resource" in allowed or not parameter.targets:
        return parameter.targets
    return tuple(type for type in parameter.targets if type in allowed) or parameter.targets


def _names(
    leaves: Iterable[Leaf], references: Iterable[ReferenceLeaf], places: Iterable[Place]
) -> tuple[str, ...]:
    names: set[str] = set()
    for leaf in leaves:
        names.add(leaf.name)
        if leaf.kind is SearchKind.TOKEN and leaf.chain.type == "Identifier":
            names.add(leaf.name + OF_TYPE_SUFFIX)
    for reference in references:
        for name in (*reference.by_type.values(), reference.rest):
            if name:
                names.add(name)
            if name and reference.chain.type == "Reference":
                names.add(name + IDENTIFIER_SUFFIX)
    for place in places:
        names.add(place.name)
        names.update(part.name for part in place.keys if part.kind is SearchKind.TOKEN)
    return tuple(sorted(names))
