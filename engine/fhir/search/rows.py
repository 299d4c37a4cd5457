"""What one resource puts into the index: the rows of DESIGN 6, without the resource's number.

Made by `engine.fhir.search.extraction`, stored by a backend, free of any database. Paths are
the small numbers that a store has given to `tree.Path.name`. All hashes are signed 64-bit.
"""

import enum

import msgspec


class Edge(enum.IntFlag):
    """Whether a value is the least or the greatest that its resource has at its path: what
    `_sort` looks at, ascending and descending."""

    NONE = 0
    LEAST = 1
    GREATEST = 2


class Term(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A token of the dictionary: postings hold only `k`, the hash of the other three. A uri has
    its text as code and no system; `url|version` of a canonical too."""

    k: int
    path: int
    system: str  # "" for none
    code: str  # "" for none


class Unit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A unit of the dictionary of quantities: `u` is the hash of all others."""

    u: int
    path: int  # or the key of a composite, as in Rows.quantities
    system: str
    code: str
    unit: str


class Rows(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All index rows of one version. Each tuple is sorted and holds no row twice.

    A composite's rows stand among the others: its token and reference components are hashed
    with its path into the key `p` of its last, ordered component, or into `k` if it has none.
    """

    tokens: tuple[int, ...] = ()  # k of terms
    terms: tuple[Term, ...] = ()  # of the tokens that are in the dictionary
    references: tuple[tuple[int, int], ...] = ()  # p, hash of the target (see keys.target_key)
    strings: tuple[tuple[int, str, str, int], ...] = ()  # p, normalized, as written, edges
    dates: tuple[tuple[int, int, int, int], ...] = ()  # p, lo_ms, hi_ms (exclusive), edges
    numbers: tuple[tuple[int, float, int], ...] = ()  # p, value, edges
    quantities: tuple[tuple[int, int, float, int], ...] = ()  # p, u, value, edges
    units: tuple[Unit, ...] = ()
