"""Extraction: from the bytes of a resource to its rows in the index.

An Indexer is compiled for one resource type of one store, walks a resource once, and hashes on
the way. It keeps what it has hashed of values that come again, in bounded caches. Pure: whatever
the body holds, there is an answer and no exception (DESIGN 6).
"""

import json
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import msgspec

from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.expressions import Chain, Get, members
from engine.fhir.search.keys import IDENTIFIER_SUFFIX, OF_TYPE_SUFFIX, Keys
from engine.fhir.search.plan import Leaf, Part, Place, ReferenceLeaf, TypePlan
from engine.fhir.search.readers import (
    CACHED_CHARACTERS_MAX,
    CACHED_MAX,
    DateReader,
    Measure,
    Pointer,
    ReferenceReader,
    StringReader,
    measure_reader,
    number_reader,
    read_identifier,
    text_of,
    token_reader,
    typed_identifiers,
)
from engine.fhir.search.rows import Edge, Rows, Term, Unit
from engine.fhir.search.walk import Sink, compile_walk

Reader = Callable[[Any], list[Any]]
_BOTH = int(Edge.LEAST | Edge.GREATEST)


class Readers:
    """The readers of one store: they know its zone and addresses, and share what they cache."""

    def __init__(
        self, strings: StringReader, dates: DateReader, references: ReferenceReader
    ) -> None:
        self.strings = strings
        self.dates = dates
        self.references = references

    def ordered(self, kind: SearchKind, type: str) -> Reader:
        """For ordered values of a FHIR type."""
        match kind:
            case SearchKind.STRING:
                return self.strings.reader(type)
            case SearchKind.DATE:
                return self.dates.reader(type)
            case SearchKind.NUMBER:
                return number_reader(type)
        assert kind is SearchKind.QUANTITY
        return measure_reader(type)


class _Found:
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
    rows = sorted(set(found))
    last = len(rows) - 1
    return tuple(
        [
            (
                *row,
                (Edge.LEAST.value if at == 0 or rows[at - 1][0] != row[0] else 0)
                + (Edge.GREATEST.value if at == last or rows[at + 1][0] != row[0] else 0),
            )
            for at, row in enumerate(rows)
        ]
    )


def _measured(found: list[tuple[int, int, float]]) -> tuple[tuple[int, int, float, int], ...]:
    """Rows of quantities: sorted with the unit first, but their edges go by value."""
    edged = _with_edges([(p, value, u) for p, u, value in found])
    return tuple(sorted([(p, u, value, edge) for p, value, u, edge in edged]))


class _Terms(dict[tuple[str, str], Term]):
    """Terms at one path by system and code, made when they are first asked for."""

    def __init__(self, keys: Keys, path: int) -> None:
        self._keys = keys
        self._path = path

    def __missing__(self, token: tuple[str, str]) -> Term:
        term = Term(self._keys.term(self._path, *token), self._path, *token)
        if len(token[0]) + len(token[1]) <= 2 * CACHED_CHARACTERS_MAX:
            if len(self) >= CACHED_MAX:
                self.clear()
            self[token] = term
        return term


class _Units(dict[tuple[str, str, str], Unit]):
    """Units at one path, or at one key of a composite."""

    def __init__(self, keys: Keys, path: int) -> None:
        self._keys = keys
        self._path = path

    def __missing__(self, unit: tuple[str, str, str]) -> Unit:
        made = Unit(self._keys.unit(self._path, *unit), self._path, *unit)
        if len(self) >= CACHED_MAX:
            self.clear()
        self[unit] = made
        return made


class _Targets(dict[Pointer, tuple[int, ...]]):
    """Hashes of where references lead."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def __missing__(self, pointer: Pointer) -> tuple[int, ...]:
        if pointer.id:
            targets: tuple[int, ...] = (self._keys.target(pointer.type, pointer.id),)
        else:
            targets = tuple(map(self._keys.url, pointer.urls))
        if len(self) >= CACHED_MAX:
            self.clear()
        self[pointer] = targets
        return targets


class Indexer:
    """Makes the index rows of one resource type. May be used in several threads at once."""

    def __init__(
        self, plan: TypePlan, numbers: Mapping[str, int], keys: Keys, readers: Readers
    ) -> None:
        """`numbers` has all of the plan's names."""
        self._numbers = numbers
        self._keys = keys
        self._readers = readers
        self._targets = _Targets(keys)
        self._terms: dict[str, _Terms] = {}
        indexed = {leaf.name for leaf in plan.leaves if leaf.kind is SearchKind.TOKEN}
        sinks = [(leaf.chain, self._leaf(leaf)) for leaf in plan.leaves]
        sinks += [(leaf.chain, self._reference(leaf)) for leaf in plan.references]
        sinks += [(place.chain, self._place(place, indexed)) for place in plan.places]
        self._walk = compile_walk(sinks)
        self._decode = msgspec.json.Decoder().decode

    def rows(self, body: bytes) -> Rows:
        """The rows of a resource of the type."""
        try:
            resource = self._decode(body)
        except (msgspec.DecodeError, RecursionError):
            resource = _decoded_slowly(body)
        found = _Found()
        self._walk(resource, found)
        return found.rows()

    def _terms_at(self, name: str) -> _Terms:
        terms = self._terms.get(name)
        if terms is None:
            terms = self._terms[name] = _Terms(self._keys, self._numbers[name])
        return terms

    # Values at one path.

    def _leaf(self, leaf: Leaf) -> Sink:
        type = leaf.chain.type
        if leaf.kind is SearchKind.TOKEN:
            return self._identifier(leaf.name) if type == "Identifier" else self._token(leaf)
        p = self._numbers[leaf.name]
        read = self._readers.ordered(leaf.kind, type)
        if leaf.kind is SearchKind.QUANTITY:
            return _quantity_sink(p, read, _Units(self._keys, p))
        return _ordered_sink(leaf.kind, p, read)

    def _token(self, leaf: Leaf) -> Sink:
        read = token_reader(leaf.chain.type)
        terms = self._terms_at(leaf.name)

        def sink(value: Any, found: _Found) -> None:
            for token in read(value):
                term = terms[token]
                found.terms[term.k] = term

        return sink

    def _identifier(self, name: str) -> Sink:
        """Identifiers are seldom met twice, so they are not cached."""
        term_of = self._keys.term
        p = self._numbers[name]
        typed = self._numbers[name + OF_TYPE_SUFFIX]
        typed_key = self._keys.typed_identifier

        def sink(value: Any, found: _Found) -> None:
            for system, code in read_identifier(value):
                k = term_of(p, system, code)
                found.terms[k] = Term(k, p, system, code)
                if "type" in value:
                    for type_system, type_code, text in typed_identifiers(value):
                        found.tokens.add(typed_key(typed, type_system, type_code, text))

        return sink

    # References.

    def _reference(self, leaf: ReferenceLeaf) -> Sink:
        numbers = {type: self._numbers[name] for type, name in leaf.by_type.items()}
        rest = self._numbers[leaf.rest] if leaf.rest else None
        targets = self._targets

        def add(pointer: Pointer, type: str, found: _Found) -> None:
            p = numbers.get(type, rest)
            if p is not None:
                for target in targets[pointer]:
                    found.references.add((p, target))

        if leaf.chain.type == "Reference":
            return self._reference_sink(leaf, add)
        read = (
            self._readers.references.embedded
            if leaf.chain.type == "Resource"
            else lambda value: self._readers.references.pointer(text_of(value))
        )

        def sink(value: Any, found: _Found) -> None:
            pointer = read(value)
            if pointer is not None:
                add(pointer, pointer.type, found)

        return sink

    def _reference_sink(
        self, leaf: ReferenceLeaf, add: Callable[[Pointer, str, _Found], None]
    ) -> Sink:
        pointer_of = self._readers.references.pointer
        type_of = self._readers.references.type_of
        identifiers = {
            type: self._terms_at(name + IDENTIFIER_SUFFIX) for type, name in leaf.by_type.items()
        }
        rest = self._terms_at(leaf.rest + IDENTIFIER_SUFFIX) if leaf.rest else None

        def sink(value: Any, found: _Found) -> None:
            if type(value) is not dict:
                return
            text = value.get("reference")
            pointer = pointer_of(text) if type(text) is str else None
            if pointer is not None:
                add(pointer, pointer.type or type_of(value), found)
            identifier = value.get("identifier")
            if identifier is not None:
                name = (pointer.type if pointer else "") or type_of(value)
                terms = identifiers.get(name, rest)
                if terms is not None:
                    for token in read_identifier(identifier):
                        term = terms[token]
                        found.terms[term.k] = term

        return sink

    # Composites.

    def _place(self, place: Place, indexed: set[str]) -> Sink:
        p = self._numbers[place.name]
        keys = [self._key_finder(part, indexed) for part in place.keys]
        composite = self._keys.composite
        known: dict[tuple[int, ...], int] = {}

        def keys_of(value: Any, found: _Found) -> list[int]:
            made = []
            for parts in product(*[find(value, found) for find in keys]):
                key = known.get(parts)
                if key is None:
                    if len(known) >= CACHED_MAX:
                        known.clear()
                    key = known[parts] = composite(p, parts)
                made.append(key)
            return made

        if place.last is not None:
            return self._ordered_place(place.last, keys_of)

        def sink(value: Any, found: _Found) -> None:
            found.tokens.update(keys_of(value, found))

        return sink

    def _ordered_place(self, last: Part, keys_of: Callable[[Any, _Found], list[int]]) -> Sink:
        finders = [
            _finder(chain, self._readers.ordered(last.kind, chain.type)) for chain in last.chains
        ]
        kind = last.kind
        units: dict[int, _Units] = {}

        def sink(value: Any, found: _Found) -> None:
            values = [item for find in finders for item in find(value)]
            if not values:
                return
            for key in keys_of(value, found):
                if kind is SearchKind.QUANTITY:
                    at = units.get(key)
                    if at is None:
                        if len(units) >= CACHED_MAX:
                            units.clear()
                        at = units[key] = _Units(self._keys, key)
                    _add_measures(key, at, values, found)
                else:
                    _add_ordered(kind, key, values, found)

        return sink

    def _key_finder(self, part: Part, indexed: set[str]) -> Callable[[Any, _Found], list[int]]:
        """Finds the keys of one component in a place's element."""
        if part.kind is SearchKind.REFERENCE:
            return self._target_finder(part)
        finders = [_finder(chain, token_reader(chain.type)) for chain in part.chains]
        terms = self._terms_at(part.name)
        in_dictionary = part.name in indexed

        def find(value: Any, found: _Found) -> list[int]:
            made = [terms[token] for finder in finders for token in finder(value)]
            if not in_dictionary:
                found.words.update({term.k: term for term in made})
            return [term.k for term in made]

        return find

    def _target_finder(self, part: Part) -> Callable[[Any, _Found], list[int]]:
        references = self._readers.references

        def pointers(value: Any) -> list[Pointer]:
            text = value.get("reference") if type(value) is dict else value
            pointer = references.pointer(text_of(text))
            return [pointer] if pointer is not None else []

        finders = [_finder(chain, pointers) for chain in part.chains]

        def find(value: Any, found: _Found) -> list[int]:
            return [
                target
                for finder in finders
                for pointer in finder(value)
                for target in self._targets[pointer]
            ]

        return find


def _decoded_slowly(body: bytes) -> Any:
    """For numbers that no double can hold: infinities here, which readers pass over."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _finder(chain: Chain, read: Reader) -> Reader:
    """What a reader makes of all that a chain leads to."""
    match chain.steps:
        case (Get() as step,):  # nearly all
            return lambda value: (
                [found for member in members(value, step) for found in read(member)]
                if type(value) is dict and step.key in value
                else []
            )
    return lambda value: [found for member in chain.values(value) for found in read(member)]


def _quantity_sink(p: int, read: Reader, units: _Units) -> Sink:
    def sink(value: Any, found: _Found) -> None:
        _add_measures(p, units, read(value), found)

    return sink


def _add_measures(p: int, units: _Units, measures: list[Measure], found: _Found) -> None:
    for value, system, code, unit in measures:
        made = units[system, code, unit]
        found.units[made.u] = made
        found.quantities.append((p, made.u, value))


def _ordered_sink(kind: SearchKind, p: int, read: Reader) -> Sink:
    def sink(value: Any, found: _Found) -> None:
        _add_ordered(kind, p, read(value), found)

    return sink


def _add_ordered(kind: SearchKind, p: int, values: list[Any], found: _Found) -> None:
    if kind is SearchKind.DATE:
        found.dates += [(p, lo, hi) for lo, hi in values]
    elif kind is SearchKind.STRING:
        found.strings += [(p, normalized, text) for normalized, text in values]
    else:
        found.numbers += [(p, number) for number in values]
