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
        self.ways: dict[tuple[Step, ...], _Node] = {}


def compile_walk(chains: Iterable[tuple[Chain, Sink]]) -> Sink:
    """A function that takes an object and a collector, and calls each chain's sink with every
    value that the chain leads to, and the collector."""
    root = _Node()
    for chain, sink in chains:
        node = root
        for way in _ways(chain.steps):
            node = node.ways.setdefault(way, _Node())
        node.sinks.append(sink)
    return _visitor(root)


def _ways(steps: tuple[Step, ...]) -> list[tuple[Step, ...]]:
    """Steps one by one, but an array with the index that chooses from it."""
    ways: list[tuple[Step, ...]] = []
    for step in steps:
        if isinstance(step, At):
            ways[-1] = (*ways[-1], step)
        else:
            ways.append((step,))
    return ways


def _visitor(node: _Node) -> Sink:
    sinks = tuple(node.sinks)
    if not node.ways:
        return sinks[0] if len(sinks) == 1 else _to_all(sinks)
    singles: list[tuple[str, Sink]] = []
    arrays: list[tuple[str, Sink]] = []
    tests: list[Sink] = list(sinks)
    for way, inner in node.ways.items():
        visit = _visitor(inner)
        match way:
            case (Get(key, many=False),):
                singles.append((key, visit))
            case (Get(key),):
                arrays.append((key, visit))
            case (Get(key), At(index)):
                tests.append(_at(key, index, visit))
            case (Keep(_, test),):
                tests.append(_kept(test, visit))
            case (Compute(_, test),):
                tests.append(_computed(test, visit))
            case _:
                raise AssertionError(way)
    return _fork(tuple(singles), tuple(arrays), tuple(tests))


def _fork(
    singles: tuple[tuple[str, Sink], ...],
    arrays: tuple[tuple[str, Sink], ...],
    others: tuple[Sink, ...],
) -> Sink:
    def visit(value: Any, found: Any) -> None:
        for other in others:
            other(value, found)
        if type(value) is not dict:
            return
        get = value.get
        for key, inner in singles:
            member = get(key)
            if member is not None and type(member) is not list:
                inner(member, found)
        for key, inner in arrays:
            items = get(key)
            if type(items) is list:
                for item in items:
                    if item is not None:
                        inner(item, found)

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
