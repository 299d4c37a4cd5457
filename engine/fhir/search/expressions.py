"""What the FHIRPath of a search parameter means for one resource type: paths to JSON members.

A choice element becomes one chain of steps for each of its types; paths of other resource types
fall away; `where(resolve() is T)` becomes the path's target. What cannot be done here raises
ExpressionNotSupported. Source: FHIR R4 search.html, fhirpath.html.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from engine.fhir.definitions.model import Definitions, Element, TypeKind
from engine.fhir.search.fhirpath import (
    As,
    Binary,
    Call,
    ExpressionNotSupported,
    Is,
    Item,
    Literal,
    Member,
    Name,
    Node,
    Variable,
    parse_expression,
)

# Types that search parameters name by another name than the element model.
_TYPE_NAMES = {"DateTime": "dateTime", "SimpleQuantity": "Quantity", "MoneyQuantity": "Quantity"}
# Types that are special cases of another one, so that they are found `as` it (R4 datatypes).
_SPECIAL_CASES = {
    "uri": ("url", "canonical", "oid", "uuid"),
    "string": ("code", "id", "markdown"),
    "integer": ("positiveInt", "unsignedInt"),
    "Quantity": ("Age", "Count", "Distance", "Duration"),
}
_EVERYWHERE = ("Resource", "DomainResource")
_TESTS = ("exists", "empty", "not", "hasExtension")

Test = Callable[[Any], bool | None]  # None: FHIRPath's empty, neither true nor false


class Get(msgspec.Struct, frozen=True):
    """One step: to the value of a JSON member, or to each item of its array."""

    key: str
    many: bool  # JSON holds an array


class At(msgspec.Struct, frozen=True):
    """One step, after a Get of an array: only its item of this index."""

    index: int


class Keep(msgspec.Struct, frozen=True):
    """One step: stays, if the test is true. Equal text, equal test."""

    text: str
    test: Test = msgspec.field()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keep) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Compute(msgspec.Struct, frozen=True):
    """The last step: to the outcome of a test; to nothing if that is empty."""

    text: str
    test: Test


Step = Get | At | Keep | Compute


class Chain(msgspec.Struct, frozen=True):
    """Steps to values of one type of the element model."""

    steps: tuple[Step, ...]
    type: str
    single: bool  # at most one value
    targets: tuple[str, ...] = ()  # types that a reference there may point to; empty: any

    def values(self, start: Any) -> list[Any]:
        """All values in `start`, in order. Members of a wrong JSON form hold none."""
        found = [start]
        for step in self.steps:
            found = list(_follow(step, found))
        return found


class ElementPath(msgspec.Struct, frozen=True):
    """One path of an expression, with a chain for each type that a value may have there."""

    name: str  # identity in the index
    chains: tuple[Chain, ...]
    target: str = ""  # only references to this type


def _follow(step: Step, found: list[Any]) -> Iterator[Any]:
    for value in found:
        if isinstance(step, Get):
            if isinstance(value, dict):
                yield from members(value, step)
        elif isinstance(step, Keep):
            if step.test(value) is True:
                yield value
        elif isinstance(step, Compute):
            outcome = step.test(value)
            if outcome is not None:
                yield outcome
    if isinstance(step, At):
        yield from found[step.index : step.index + 1]


def members(value: dict[str, Any], step: Get) -> list[Any]:
    """What a member holds, if it is the array or the single value that it has to be."""
    inner = value.get(step.key)
    if step.many:
        return [item for item in inner if item is not None] if isinstance(inner, list) else []
    return [] if inner is None or isinstance(inner, list) else [inner]


def json_name(element: Element, type: str) -> str:
    """The JSON name of an element when its value is of a type."""
    return element.name + type[0].upper() + type[1:] if element.choice else element.name


class Expressions:
    """Resolves expressions against the element model of one release."""

    def __init__(self, definitions: Definitions) -> None:
        self._types = definitions.types
        self._elements = {
            name: {element.name: element for element in model.elements}
            for name, model in definitions.types.items()
        }
        self._parsed: dict[str, Node] = {}

    def _parse(self, expression: str) -> Node:
        """Published expressions speak of many types, and are read once for all."""
        node = self._parsed.get(expression)
        if node is None:
            node = self._parsed[expression] = parse_expression(expression)
        return node

    def paths(self, expression: str, type: str) -> tuple[ElementPath, ...]:
        """The paths of an expression for a resource type; none if it speaks of others only.

        Raises ExpressionNotSupported.
        """
        return self._resolve(self._parse(expression), _start(type, type))

    def below(self, expression: str, base: ElementPath) -> tuple[ElementPath, ...]:
        """The paths of a composite's component, relative to one path of the composite.

        Raises ExpressionNotSupported.
        """
        found: dict[str, ElementPath] = {}
        for type in {chain.type: None for chain in base.chains}:
            for path in self._resolve(self._parse(expression), _start("", type)):
                before = found.get(path.name)
                chains = (before.chains if before else ()) + path.chains
                found[path.name] = ElementPath(path.name, chains, path.target)
        return tuple(found.values())

    # Paths.

    def _resolve(self, node: Node, start: ElementPath) -> tuple[ElementPath, ...]:
        if isinstance(node, Binary) and node.operator == "|":
            return tuple(path for part in _parts(node) for path in self._resolve(part, start))
        if _is_test(node):
            return self._computed(node, start)
        if isinstance(node, Name):
            return self._named(node.name, start)
        if isinstance(node, Variable) and node.name == "$this":
            return (start,)
        if isinstance(node, Call) and node.of is None:
            return (self._called(node, start),)
        if isinstance(node, Member | Item | As | Call) and node.of is not None:
            return tuple(self._further(node, path) for path in self._resolve(node.of, start))
        raise ExpressionNotSupported(f"{_text(node)} is not supported where a path is expected")

    def _named(self, name: str, start: ElementPath) -> tuple[ElementPath, ...]:
        at_root = all(not chain.steps for chain in start.chains) and start.name != ""
        types = [chain.type for chain in start.chains]
        if at_root and (name in types or name in _EVERYWHERE):
            if name == "DomainResource" and "text" not in self._elements[types[0]]:
                return ()
            return (ElementPath(name, start.chains),)
        if any(name in self._elements[type] for type in types):
            return (self._member(start, name),)
        model = self._types.get(name)
        if at_root and model is not None and model.kind is TypeKind.RESOURCE:
            return ()
        raise ExpressionNotSupported(f"there is no element {name} where the path begins")

    def _further(self, node: Node, path: ElementPath) -> ElementPath:
        if isinstance(node, Member):
            return self._member(path, node.name)
        if isinstance(node, As):
            return self._as(path, node.type)
        if isinstance(node, Item):
            return _item(path, node.index)
        assert isinstance(node, Call)
        return self._called(node, path)

    def _member(self, path: ElementPath, name: str) -> ElementPath:
        chains: list[Chain] = []
        for chain in path.chains:
            element = self._elements[chain.type].get(name)
            if element is None:
                continue
            for type in element.types:
                step = Get(json_name(element, type), not element.single)
                single = chain.single and element.single
                chains.append(Chain((*chain.steps, step), type, single, element.targets))
        if not chains:
            raise ExpressionNotSupported(f"there is no element {_joined(path.name, name)}")
        return ElementPath(_joined(path.name, name), tuple(chains))

    def _as(self, path: ElementPath, type: str) -> ElementPath:
        type = _TYPE_NAMES.get(type, type)
        if all(chain.type == "Resource" for chain in path.chains) and type in self._types:
            test = Keep(f"is {type}", lambda value: _is_resource(value, type))
            chains = tuple(Chain((*chain.steps, test), type, chain.single) for chain in path.chains)
        else:
            wanted = (type, *_SPECIAL_CASES.get(type, ()))
            chains = tuple(chain for chain in path.chains if chain.type in wanted)
        if not chains:
            raise ExpressionNotSupported(f"{path.name or 'the value'} is never a {type}")
        if chains == path.chains:
            return path
        return ElementPath(f"{path.name}.ofType({type})", chains, path.target)

    def _called(self, call: Call, path: ElementPath) -> ElementPath:
        if call.function == "where" and len(call.arguments) == 1:
            return self._where(call.arguments[0], path)
        if call.function == "extension" and len(call.arguments) == 1:
            url = Binary("=", Name("url"), call.arguments[0])
            kept = self._where(url, self._member(path, "extension"))
            name = _joined(path.name, f"extension({_text(call.arguments[0])})")
            return ElementPath(name, kept.chains)
        raise ExpressionNotSupported(f"the function {call.function}() is not supported in a path")

    def _where(self, node: Node, path: ElementPath) -> ElementPath:
        name = f"{path.name}.where({_text(node)})"
        if isinstance(node, Is) and _is_resolve(node.of):
            if any(chain.type not in ("Reference", "canonical") for chain in path.chains):
                raise ExpressionNotSupported(f"{path.name} is no reference to be resolved")
            return ElementPath(name, path.chains, node.type)
        chains = tuple(
            Chain(
                (*chain.steps, Keep(_text(node), self._test(node, chain.type))),
                chain.type,
                chain.single,
                chain.targets,
            )
            for chain in path.chains
        )
        return ElementPath(name, chains, path.target)

    # Tests.

    def _computed(self, node: Node, start: ElementPath) -> tuple[ElementPath, ...]:
        chains = tuple(
            Chain(
                (*chain.steps, Compute(_text(node), self._test(node, chain.type, start.name))),
                "boolean",
                chain.single,
            )
            for chain in start.chains
        )
        return (ElementPath(_joined(start.name, f"({_text(node)})"), chains),)

    def _test(self, node: Node, type: str, root: str = "") -> Test:
        """`root`: the resource type, where names may begin with it."""
        if isinstance(node, Binary) and node.operator in ("and", "or"):
            left, right = self._test(node.left, type, root), self._test(node.right, type, root)
            return _all_of(left, right) if node.operator == "and" else _any_of(left, right)
        if isinstance(node, Binary) and node.operator in ("=", "!="):
            if not isinstance(node.right, Literal):
                raise ExpressionNotSupported(f"{_text(node)}: only a literal can be compared with")
            return _equals(
                self._chains(node.left, type, root), node.right.value, node.operator == "="
            )
        if isinstance(node, Call) and node.function in _TESTS:
            return self._test_called(node, type, root)
        return _outcome(self._chains(node, type, root))

    def _test_called(self, call: Call, type: str, root: str) -> Test:
        of = call.of if call.of is not None else Variable("$this")
        if call.function == "hasExtension" and len(call.arguments) == 1:
            return _exists(self._chains(Call(of, "extension", call.arguments), type, root), True)
        if call.function == "not" and not call.arguments:
            return _negated(self._test(of, type, root))
        if call.function == "exists" and len(call.arguments) == 1:
            of = Call(of, "where", call.arguments)
        elif call.arguments:
            raise ExpressionNotSupported(f"{call.function}() takes no argument")
        return _exists(self._chains(of, type, root), call.function == "exists")

    def _chains(self, node: Node, type: str, root: str) -> tuple[Chain, ...]:
        paths = self._resolve(node, _start(root, type))
        if any(path.target for path in paths):
            raise ExpressionNotSupported("resolve() is supported at the end of a path only")
        return tuple(chain for path in paths for chain in path.chains)


def _start(name: str, type: str) -> ElementPath:
    return ElementPath(name, (Chain((), type, True),))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _parts(node: Node) -> list[Node]:
    """The parts of a union in order. A loop: unions may be long."""
    parts: list[Node] = []
    while isinstance(node, Binary) and node.operator == "|":
        parts.append(node.right)
        node = node.left
    return [node, *reversed(parts)]


def _item(path: ElementPath, index: int) -> ElementPath:
    """An item of a collection; of several collections it would be one of all of them."""
    chains = []
    for chain in path.chains:
        before = [step for step in chain.steps[:-1] if isinstance(step, Get) and step.many]
        if not chain.steps or not isinstance(chain.steps[-1], Get) or before:
            raise ExpressionNotSupported(f"{path.name}[{index}] is not supported: no one array")
        chains.append(Chain((*chain.steps, At(index)), chain.type, True, chain.targets))
    return ElementPath(f"{path.name}[{index}]", tuple(chains))


def _is_test(node: Node) -> bool:
    """Whether the outcome is a boolean and not an element."""
    if isinstance(node, Binary):
        return node.operator != "|"
    return isinstance(node, Call) and node.function in _TESTS


def _is_resolve(node: Node) -> bool:
    return (
        isinstance(node, Call)
        and node.function == "resolve"
        and (node.of is None or node.of == Variable("$this"))
    )


def _is_resource(value: Any, type: str) -> bool:
    return isinstance(value, dict) and value.get("resourceType") == type


# Tests of FHIRPath, with its three outcomes (N1, boolean logic).


def _values(chains: tuple[Chain, ...], start: Any) -> list[Any]:
    return [value for chain in chains for value in chain.values(start)]


def _equals(chains: tuple[Chain, ...], literal: object, equal: bool) -> Test:
    def test(start: Any) -> bool | None:
        values = _values(chains, start)
        if not values:
            return None
        same = len(values) == 1 and values[0] == literal
        # In Python, true is 1.
        same = same and isinstance(values[0], bool) == isinstance(literal, bool)
        return same if equal else not same

    return test


def _exists(chains: tuple[Chain, ...], wanted: bool) -> Test:
    return lambda start: bool(_values(chains, start)) is wanted


def _outcome(chains: tuple[Chain, ...]) -> Test:
    """A path as a test: what its one boolean says."""

    def test(start: Any) -> bool | None:
        values = _values(chains, start)
        return values[0] if len(values) == 1 and isinstance(values[0], bool) else None

    return test


def _negated(inner: Test) -> Test:
    def test(start: Any) -> bool | None:
        outcome = inner(start)
        return None if outcome is None else not outcome

    return test


def _all_of(left: Test, right: Test) -> Test:
    def test(start: Any) -> bool | None:
        outcomes = (left(start), right(start))
        return False if False in outcomes else None if None in outcomes else True

    return test


def _any_of(left: Test, right: Test) -> Test:
    def test(start: Any) -> bool | None:
        outcomes = (left(start), right(start))
        return True if True in outcomes else None if None in outcomes else False

    return test


def _text(node: Node) -> str:
    """A tree as one text: equal trees give equal ones, so it names what it does."""
    match node:
        case Name(name) | Variable(name):
            return name
        case Literal(value):
            return f"'{value}'" if isinstance(value, str) else str(value).lower()
        case Member(of, name):
            return f"{_text(of)}.{name}"
        case Item(of, index):
            return f"{_text(of)}[{index}]"
        case Call(of, function, arguments):
            call = f"{function}({', '.join(map(_text, arguments))})"
            return call if of is None else f"{_text(of)}.{call}"
        case As(of, type):
            return f"{_text(of)}.ofType({type})"
        case Is(of, type):
            return f"{_text(of)} is {type}"
        case Binary("and" | "or" as operator, left, right):
            return f"{_operand(left)} {operator} {_operand(right)}"
        case Binary(operator, left, right):
            return f"{_text(left)}{operator}{_text(right)}"


def _operand(node: Node) -> str:
    inner = isinstance(node, Binary) and node.operator in ("and", "or")
    return f"({_text(node)})" if inner else _text(node)
