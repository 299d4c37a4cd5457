"""From values of a query to tests of ordered values."""

from typing import Final

from backends.sqlite.search.ordered import (
    ContainsTest,
    DateTest,
    ExactTest,
    NumberTest,
    QuantityTest,
    StartTest,
    Test,
)
from backends.sqlite.search.view import View
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.tree import Instant, Modifier, Number, Quantity, Text, Value
from engine.fhir.search.values import normalize, written

TABLES: Final = {
    SearchKind.STRING: "str",
    SearchKind.DATE: "dat",
    SearchKind.NUMBER: "num",
    SearchKind.QUANTITY: "qty",
}


def test_of(view: View, value: Value, modifier: Modifier, keys: tuple[int, ...]) -> Test:
    """How a value is compared with the rows of these paths, or keys of composites."""
    match value:
        case Instant():
            return DateTest(value.prefix, value.lo_ms, value.hi_ms)
        case Number():
            return _number(value)
        case Quantity():
            return QuantityTest(_number(value.number), keys, _units(view, value, keys))
        case Text():
            return _text(value.text, modifier)
        case _:
            raise AssertionError(f"{type(value).__name__} has no order")


def _number(value: Number) -> NumberTest:
    return NumberTest(value.prefix, value.value, value.lo, value.hi)


def _text(text: str, modifier: Modifier) -> Test:
    normalized = normalize(text)
    if modifier is Modifier.EXACT:
        return ExactTest(normalized, written(text))
    return ContainsTest(normalized) if modifier is Modifier.CONTAINS else StartTest(normalized)


def _units(view: View, value: Quantity, keys: tuple[int, ...]) -> tuple[int, ...] | None:
    """Keys of the units that are meant; None: any."""
    if value.system is None and value.unit is None:
        return None
    b = view.binder()
    conditions = [b.equal("p", keys)]
    if value.system is not None:
        conditions.append(f"system = {b.value(value.system)}")
        if value.unit is not None:
            conditions.append(f"code = {b.value(value.unit)}")
    else:
        assert value.unit is not None
        unit = b.value(value.unit)
        conditions.append(f"(code = {unit} OR unit = {unit})")
    rows = view.run(f"SELECT u FROM unit WHERE {' AND '.join(conditions)}", b)
    return tuple(u for (u,) in rows)
