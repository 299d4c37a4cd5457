"""Walks a JSON object once for all the chains of steps that lead to something in it.

Chains that begin alike share their way: they are merged into a tree, and the tree is turned into
nested functions. What a chain finds goes to its sink.
"""

from collections.abc import Callable, Iterable
from typing import Any

from engine.fhir.search.expressions import At, Chain, Compute, Get, Keep, Step, Test

Sink = Callable[[Any, Any], None]  # a value, and what collects the findings


class _Node:
    """Where chains have come to. `ways` keep the order in which they were added."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        self.by_member: dict[str, list[Sink]] = {}
        self.ways: dict[tuple[Step, ...], _Node] = {}


class Walk:
    """Chains and their sinks, to be compiled into one function."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, chain: Chain, sink: Sink) -> None:
        """Call the sink with every value that the chain leads to, and the collector."""
        self._at(chain).sinks.append(sink)

    def add_if(self, chain: Chain, members: Iterable[str], sink: Sink) -> None:
        """Call the sink with every object that the chain leads to, once for each of these JSON
        members that it has."""
        node = self._at(chain)
        for member in members:
            node.by_member.setdefault(member, []).append(sink)

    def compiled(self) -> Sink:
        """A function that takes an object and the collector."""
        return _visitor(self._root)

    def _at(self, chain: Chain) -> _Node:
        node = self._root
        for way in _ways(chain.steps):
            node = node.ways.setdefault(way, _Node())
        return node


def _ways(steps: tuple[Step, ...]) -> list[tuple[Step, ...]]:
    """Steps one by one, but an array with the index that chooses from it."""
    ways: list[tuple[Step, ...]] = []
    for step in steps:
        if isinstance(step, At):
            ways[-1] = (*ways[-1], step)
        else:
            ways.append((step,))
    return ways


# What is done with a member: whether it has to be an array, for its value or each item, and
# for the object that has it.
_Member = tuple[bool, Sink | None, tuple[Sink, ...]]


def _visitor(node: _Node) -> Sink:
    if not node.ways and not node.by_member:
        return node.sinks[0] if len(node.sinks) == 1 else _to_all(tuple(node.sinks))
    found: dict[str, _Member] = {}
    others: list[Sink] = list(node.sinks)
    for way, inner in node.ways.items():
        visit = _visitor(inner)
        match way:
            case (Get(key, many),):
                assert key not in found  # a member is an array or it is not
                found[key] = (many, visit, ())
            case (Get(key), At(index)):
                others.append(_at(key, index, visit))
            case (Keep(_, test),):
                others.append(_kept(test, visit))
            case (Compute(_, test),):
                others.append(_computed(test, visit))
            case _:
                raise AssertionError(way)
    for key, sinks in node.by_member.items():
        many, member, _ = found.get(key, (False, None, ()))
        found[key] = (many, member, tuple(sinks))
    visit = _members(found)
    return _to_all((*others, visit)) if others else visit


def _members(ways: dict[str, _Member]) -> Sink:
    """The members that are there are looked up, not all that could be there."""
    get = ways.get

    def visit(value: Any, found: Any) -> None:
        if type(value) is not dict:
            return
        for key, member in value.items():
            way = get(key)
            if way is None or member is None:
                continue
            many, inner, sinks = way
            if inner is None:
                pass
            elif many:
                if type(member) is list:
                    for item in member:
                        if item is not None:
                            inner(item, found)
            elif type(member) is not list:
                inner(member, found)
            for sink in sinks:
                sink(value, found)

    return visit


def _to_all(sinks: tuple[Sink, ...]) -> Sink:
    def visit(value: Any, found: Any) -> None:
        for sink in sinks:
            sink(value, found)

    return visit


def _at(key: str, index: int, inner: Sink) -> Sink:
    def visit(value: Any, found: Any) -> None:
        items = value.get(key) if type(value) is dict else None
        if type(items) is list and len(items) > index and items[index] is not None:
            inner(items[index], found)

    return visit


def _kept(test: Test, inner: Sink) -> Sink:
    def visit(value: Any, found: Any) -> None:
        if test(value) is True:
            inner(value, found)

    return visit


def _computed(test: Test, inner: Sink) -> Sink:
    def visit(value: Any, found: Any) -> None:
        outcome = test(value)
        if outcome is not None:
            inner(outcome, found)

    return visit
