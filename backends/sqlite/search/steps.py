"""Steps along a hierarchy: `:above` and `:below` on references."""

from collections.abc import Callable, Sequence
from typing import Final

from backends.sqlite.search.view import View
from engine.errors import TooCostly
from engine.fhir.search.tree import Compare, Modifier

REACHED_MAX: Final = 50_000  # resources of one hierarchy


def with_hierarchy(view: View, targets: Sequence[int], criterion: Compare) -> list[int]:
    """The targets, and all that lies above or below them. A ring ends where it began.

    Raises TooCostly."""
    paths = tuple(
        dict.fromkeys(path for parameter in criterion.hierarchy for path in view.paths(parameter))
    )
    step = _below if criterion.modifier is Modifier.BELOW else _above
    return _closure(view, targets, paths, step) if paths else list(targets)


def _closure(
    view: View,
    targets: Sequence[int],
    paths: tuple[int, ...],
    step: Callable[[View, Sequence[int], tuple[int, ...]], list[int]],
) -> list[int]:
    reached = dict.fromkeys(targets)
    new = list(reached)
    while new:
        new = [target for target in step(view, new, paths) if target not in reached]
        reached |= dict.fromkeys(new)
        if len(reached) > REACHED_MAX:
            raise TooCostly(
                f"the hierarchy has more than {REACHED_MAX} resources here: name one further "
                "down, or several"
            )
    return list(reached)


def _below(view: View, targets: Sequence[int], paths: tuple[int, ...]) -> list[int]:
    """Hashes of the live resources that point to these."""
    b = view.binder()
    rows = view.run(
        "SELECT DISTINCT t.tkey FROM ref AS r CROSS JOIN live AS t ON t.res = r.res "
        f"WHERE {b.equal('r.p', paths)} AND r.target IN (SELECT value FROM {b.table(targets)})",
        b,
    )
    return [tkey for (tkey,) in rows]


def _above(view: View, targets: Sequence[int], paths: tuple[int, ...]) -> list[int]:
    """Hashes of what these point to."""
    b = view.binder()
    rows = view.run(
        f"SELECT DISTINCT f.target FROM {b.table(targets)} AS a "
        "CROSS JOIN live AS t ON t.tkey = a.value "
        f"CROSS JOIN fwd AS f ON f.res = t.res AND {b.equal('f.p', paths)}",
        b,
    )
    return [target for (target,) in rows]
