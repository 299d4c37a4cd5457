"""Extraction: from the bytes of a resource to its rows in the index.

An Indexer is compiled for one resource type of one store, walks a resource once, and hashes on
the way. It keeps what it has hashed of values that come again, in bounded caches. Pure: whatever
the body holds, there is an answer and no exception (DESIGN 6).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import msgspec

from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.expressions import Chain, Get, members
from engine.fhir.search.findings import Findings
from engine.fhir.search.hashed import Target, Targets, Terms, Units
from engine.fhir.search.keys import IDENTIFIER_SUFFIX, OF_TYPE_SUFFIX, Keys
from engine.fhir.search.plan import Leaf, Part, Place, ReferenceLeaf, TypePlan
from engine.fhir.search.readers import (
    CACHED_MAX,
    DateReader,
    Measure,
    ReferenceReader,
    StringReader,
    measure_reader,
    number_reader,
    read_folded,
    read_identifier,
    text_of,
    token_reader,
    typed_identifiers,
)
from engine.fhir.search.rows import Rows, Term
from engine.fhir.search.walk import Sink, Walk

Reader = Callable[[Any], Sequence[Any]]
Finder = Callable[[Any], list[Any]]


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


class Indexer:
    """Makes the index rows of one resource type. May be used in several threads at once."""

    def __init__(
        self,
        plan: TypePlan,
        numbers: Mapping[str, int],
        keys: Keys,
        readers: Readers,
        decode: Callable[[bytes], Any],
    ) -> None:
        """`numbers` has all of the plan's names; `decode` gives at least what the plan looks
        at."""
        self._numbers = numbers
        self._keys = keys
        self._readers = readers
        self._targets = Targets(keys, readers.references)
        self._terms: dict[str, Terms] = {}
        indexed = {leaf.name for leaf in plan.leaves if leaf.kind is SearchKind.TOKEN}
        walk = Walk()
        for leaf in plan.leaves:
            walk.add(leaf.chain, self._leaf(leaf))
        for reference in plan.references:
            walk.add(reference.chain, self._reference(reference))
        for place in plan.places:
            sink = self._place(place, indexed)
            needed = _needed(place)
            if needed:
                walk.add_if(place.chain, needed, sink)
            else:
                walk.add(place.chain, sink)
        self._walk = walk.compiled()
        self._decode = decode

    def rows(self, body: bytes) -> Rows:
        """The rows of a resource of the type."""
        try:
            resource = self._decode(body)
        except (msgspec.DecodeError, RecursionError):
            resource = _decoded_whole(body)
        found = Findings()
        self._walk(resource, found)
        return found.rows()

    def _terms_at(self, name: str) -> Terms:
        terms = self._terms.get(name)
        if terms is None:
            terms = self._terms[name] = Terms(self._keys, self._numbers[name])
        return terms

    # Values at one path.

    def _leaf(self, leaf: Leaf) -> Sink:
        type = leaf.chain.type
        if leaf.kind is SearchKind.TOKEN:
            return self._identifier(leaf.name) if type == "Identifier" else self._token(leaf)
        p = self._numbers[leaf.name]
        read = self._readers.ordered(leaf.kind, type)
        if leaf.kind is SearchKind.QUANTITY:
            return _quantity_sink(p, read, Units(self._keys, p))
        return _ordered_sink(leaf.kind, p, read)

    def _token(self, leaf: Leaf) -> Sink:
        read = read_folded if leaf.folded else token_reader(leaf.chain.type)
        terms = self._terms_at(leaf.name)

        def sink(value: Any, found: Findings) -> None:
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

        def sink(value: Any, found: Findings) -> None:
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

        def add(target: Target, type: str, found: Findings) -> None:
            p = numbers.get(type, rest)
            if p is not None:
                for key in target[1]:
                    found.references.add((p, key))

        if leaf.chain.type == "Reference":
            return self._reference_sink(leaf, add)
        targets, embedded = self._targets, self._readers.references.embedded
        in_bundle = leaf.chain.type == "Resource"

        def sink(value: Any, found: Findings) -> None:
            if in_bundle:
                pointer = embedded(value)
                target = targets.of(pointer) if pointer is not None else ("", ())
            else:
                target = targets[text_of(value)]
            add(target, target[0], found)

        return sink

    def _reference_sink(
        self, leaf: ReferenceLeaf, add: Callable[[Target, str, Findings], None]
    ) -> Sink:
        targets, type_of = self._targets, self._readers.references.type_of
        identifiers = {
            type: self._terms_at(name + IDENTIFIER_SUFFIX) for type, name in leaf.by_type.items()
        }
        rest = self._terms_at(leaf.rest + IDENTIFIER_SUFFIX) if leaf.rest else None

        def sink(value: Any, found: Findings) -> None:
            if type(value) is not dict:
                return
            text = value.get("reference")
            target = targets[text] if type(text) is str else ("", ())
            name = target[0] or type_of(value)
            add(target, name, found)
            identifier = value.get("identifier")
            if identifier is not None:
                terms = identifiers.get(name, rest)
                if terms is not None:
                    for token in read_identifier(identifier):
                        term = terms[token]
                        found.terms[term.k] = term

        return sink

    # Composites.

    def _place(self, place: Place, indexed: set[str]) -> Sink:
        keys_of = self._keys_finder(place, indexed)
        if place.last is not None:
            return self._ordered_place(place.last, keys_of)

        def sink(value: Any, found: Findings) -> None:
            found.tokens.update(keys_of(value, found))

        return sink

    def _keys_finder(self, place: Place, indexed: set[str]) -> Callable[[Any, Findings], list[int]]:
        """Finds the composite's keys in a place's element: one for each way to combine."""
        p = self._numbers[place.name]
        finders = [self._key_finder(part, indexed) for part in place.keys]
        composite = self._keys.composite
        known: dict[tuple[int, ...], int] = {}

        def find(value: Any, found: Findings) -> list[int]:
            made = []
            for parts in product(*[finder(value, found) for finder in finders]):
                key = known.get(parts)
                if key is None:
                    if len(known) >= CACHED_MAX:
                        known.clear()
                    key = known[parts] = composite(p, parts)
                made.append(key)
            return made

        return find

    def _ordered_place(self, last: Part, keys_of: Callable[[Any, Findings], list[int]]) -> Sink:
        kind = last.kind
        find = _all_finder(
            [_finder(chain, self._readers.ordered(kind, chain.type)) for chain in last.chains]
        )
        units: dict[int, Units] = {}

        def sink(value: Any, found: Findings) -> None:
            values = find(value)
            for key in keys_of(value, found) if values else ():
                if kind is not SearchKind.QUANTITY:
                    _add_ordered(kind, key, values, found)
                    continue
                at = units.get(key)
                if at is None:
                    if len(units) >= CACHED_MAX:
                        units.clear()
                    at = units[key] = Units(self._keys, key)
                _add_measures(key, at, values, found)

        return sink

    def _key_finder(self, part: Part, indexed: set[str]) -> Callable[[Any, Findings], list[int]]:
        """Finds the keys of one component in a place's element."""
        if part.kind is SearchKind.REFERENCE:
            return self._target_finder(part)
        tokens_of = _all_finder(
            [
                _finder(chain, read_folded if part.folded else token_reader(chain.type))
                for chain in part.chains
            ]
        )
        terms = self._terms_at(part.name)
        in_dictionary = part.name in indexed

        def find(value: Any, found: Findings) -> list[int]:
            made = [terms[token] for token in tokens_of(value)]
            if not in_dictionary:
                found.words.update({term.k: term for term in made})
            return [term.k for term in made]

        return find

    def _target_finder(self, part: Part) -> Callable[[Any, Findings], list[int]]:
        targets = self._targets

        def keys(value: Any) -> tuple[int, ...]:
            text = value.get("reference") if type(value) is dict else value
            return targets[text_of(text)][1]

        find = _all_finder([_finder(chain, keys) for chain in part.chains])
        return lambda value, _: find(value)


def _needed(place: Place) -> set[str]:
    """JSON members of which an element has one if a composite's components meet there."""
    return {
        step.key
        for chain in (place.last or place.keys[-1]).chains
        for step in chain.steps[:1]
        if isinstance(step, Get)
    }


def _decoded_whole(body: bytes) -> Any:
    """A body of a shape that was not expected. Numbers that no double can hold are infinities
    here, which readers pass over."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _finder(chain: Chain, read: Reader) -> Finder:
    """What a reader makes of all that a chain leads to."""
    if len(chain.steps) == 1 and isinstance(step := chain.steps[0], Get):
        return lambda value: [found for member in members(value, step) for found in read(member)]
    return lambda value: [found for member in chain.values(value) for found in read(member)]


def _all_finder(finders: list[Finder]) -> Finder:
    """What all of them find."""
    if len(finders) == 1:
        return finders[0]
    return lambda value: [found for finder in finders for found in finder(value)]


def _quantity_sink(p: int, read: Reader, units: Units) -> Sink:
    def sink(value: Any, found: Findings) -> None:
        _add_measures(p, units, read(value), found)

    return sink


def _add_measures(p: int, units: Units, measures: Sequence[Measure], found: Findings) -> None:
    for value, unit in measures:
        made = units[unit]
        found.units[made.u] = made
        found.quantities.append((p, made.u, value))


def _ordered_sink(kind: SearchKind, p: int, read: Reader) -> Sink:
    def sink(value: Any, found: Findings) -> None:
        _add_ordered(kind, p, read(value), found)

    return sink


def _add_ordered(kind: SearchKind, p: int, values: Sequence[Any], found: Findings) -> None:
    if kind is SearchKind.DATE:
        found.dates += [(p, lo, hi) for lo, hi in values]
    elif kind is SearchKind.STRING:
        found.strings += [(p, normalized, text) for normalized, text in values]
    else:
        found.numbers += [(p, number) for number in values]
