"""Collects what one resource puts into the index, and makes the rows of it."""

from typing import Any

from engine.fhir.search.rows import Edge, Rows, Term, Unit

# As plain numbers: these are looked up for every value.
_LEAST, _GREATEST = Edge.LEAST.value, Edge.GREATEST.value
_BOTH = _LEAST + _GREATEST


class Findings:
    """Collects what one resource puts into the index."""

    __slots__ = (
        "dates",
        "numbers",
        "quantities",
        "references",
        "strings",
        "terms",
        "tokens",
        "units",
        "words",
    )

    def __init__(self) -> None:
        self.terms: dict[int, Term] = {}
        self.words: dict[int, Term] = {}  # for the dictionary alone
        self.tokens: set[int] = set()  # that are in no dictionary
        self.references: set[tuple[int, int]] = set()
        self.strings: list[tuple[int, str, str]] = []
        self.dates: list[tuple[int, int, int]] = []
        self.numbers: list[tuple[int, float]] = []
        self.quantities: list[tuple[int, int, float]] = []
        self.units: dict[int, Unit] = {}

    def rows(self) -> Rows:
        terms = self.terms
        tokens = sorted(self.tokens.union(terms)) if self.tokens else sorted(terms)
        words = {**self.words, **terms} if self.words else terms
        return Rows(
            tokens=tuple(tokens),
            terms=tuple([words[k] for k in sorted(words)]),
            references=tuple(sorted(self.references)),
            strings=_with_edges(self.strings) if self.strings else (),
            dates=_with_edges(self.dates) if self.dates else (),
            numbers=_with_edges(self.numbers) if self.numbers else (),
            quantities=_measured(self.quantities) if self.quantities else (),
            units=tuple([self.units[u] for u in sorted(self.units)]),
        )


def _with_edges(found: list[Any]) -> tuple[Any, ...]:
    """Sorted rows, each once, with their edges: within a path their order is that of values."""
    if len(found) == 1:
        return ((*found[0], _BOTH),)
    if len({row[0] for row in found}) == len(found):  # one value everywhere, as nearly always
        return tuple([(*row, _BOTH) for row in sorted(found)])
    rows = sorted(set(found))
    last = len(rows) - 1
    return tuple(
        [
            (
                *row,
                (_LEAST if at == 0 or rows[at - 1][0] != row[0] else 0)
                + (_GREATEST if at == last or rows[at + 1][0] != row[0] else 0),
            )
            for at, row in enumerate(rows)
        ]
    )


def _measured(found: list[tuple[int, int, float]]) -> tuple[tuple[int, int, float, int], ...]:
    """Rows of quantities: sorted with the unit first, but their edges go by value."""
    if len({row[0] for row in found}) == len(found):
        return tuple([(p, u, value, _BOTH) for p, u, value in sorted(found)])
    edged = _with_edges([(p, value, u) for p, u, value in found])
    return tuple(sorted([(p, u, value, edge) for p, value, u, edge in edged]))
