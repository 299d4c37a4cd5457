"""Packing: a batch of resources as the writer takes it, made in a thread or another process.

What Python has to do for a resource is done here, so that the writer has little more to do than
to run a handful of statements.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from backends.definitions import Recipe
from backends.sqlite.index import Postings, collect
from backends.sqlite.live import rows_ahead
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.keys import Keys
from engine.model import Prepared

# A line of `Round.types`: where the head begins, its length, that of the tail, and the id.
_HEAD: Final = slice(0, 10)
_HEAD_LENGTH: Final = slice(10, 18)
_TAIL_LENGTH: Final = slice(18, 26)
_ID: Final = slice(26, None)


class Round(msgspec.Struct, frozen=True, array_like=True):
    """Resources of which no two have the same type and id, run by run of a type."""

    blob: bytes  # heads and tails, one after the other
    types: dict[str, bytes]  # JSON for `stage_type` by the type's name
    targets: tuple[int, ...]  # hashes by which references mean them
    generation: int  # of the definitions that the index rows were made by
    postings: Postings

    def resources(self) -> Iterator[Prepared]:
        """All of them, in order, taken apart again."""
        for name, lines in self.types.items():
            for line in msgspec.json.decode(lines, type=list[str]):
                start = int(line[_HEAD]) - 1
                middle = start + int(line[_HEAD_LENGTH])
                end = middle + int(line[_TAIL_LENGTH])
                yield Prepared(name, line[_ID], self.blob[start:middle], self.blob[middle:end])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Round, ...])


class SqlitePacker:
    """See engine.ports.Packer."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._keys = Keys(recipe.secret)
        self._definitions: SearchDefinitions | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return SqlitePacker, (self._recipe,)

    def pack(self, resources: Sequence[Prepared]) -> bytes:
        """See engine.ports.Packer."""
        if self._definitions is None:
            self._definitions = self._recipe.make()
        return _encoder.encode(prepare_rounds(resources, self._definitions, self._keys))


def unpack(packed: bytes) -> tuple[Round, ...]:
    """What SqlitePacker packed."""
    return _decoder.decode(packed)


def prepare_rounds(
    resources: Sequence[Prepared], definitions: SearchDefinitions, keys: Keys
) -> tuple[Round, ...]:
    """Split before an id that comes again, so that all is written in order."""
    rounds: list[list[Prepared]] = [[]]
    seen: set[tuple[str, str]] = set()
    for resource in resources:
        key = (resource.type, resource.id)
        if key in seen:
            rounds.append([])
            seen.clear()
        seen.add(key)
        rounds[-1].append(resource)
    return tuple(_prepare_round(round, definitions, keys) for round in rounds)


def extract_again(round: Round, definitions: SearchDefinitions) -> Round:
    """The same for definitions that have changed since it was made."""
    index = [rows_ahead(resource, definitions) for resource in round.resources()]
    return msgspec.structs.replace(
        round, generation=definitions.generation, postings=collect(index)
    )


def _prepare_round(
    resources: Sequence[Prepared], definitions: SearchDefinitions, keys: Keys
) -> Round:
    runs: dict[str, list[Prepared]] = {}
    for resource in resources:
        runs.setdefault(resource.type, []).append(resource)
    pieces: list[bytes] = []
    types: dict[str, bytes] = {}
    position = 1
    for name, run in runs.items():
        lines = []
        for resource in run:
            head, tail = resource.head, resource.tail
            pieces += (head, tail)
            lines.append(f"{position:010d}{len(head):08d}{len(tail):08d}{resource.id}")
            position += len(head) + len(tail)
        types[name] = msgspec.json.encode(lines)
    in_order = [resource for run in runs.values() for resource in run]
    return Round(
        blob=b"".join(pieces),
        types=types,
        targets=tuple(keys.target(resource.type, resource.id) for resource in in_order),
        generation=definitions.generation,
        postings=collect([rows_ahead(resource, definitions) for resource in in_order]),
    )
