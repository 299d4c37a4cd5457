"""Hashes that were made before: of terms, units and the targets of references.

Each is made when it is first asked for. The caches are bounded: a full one is emptied, which is
cheaper than to keep track of what was used last, and what comes often is soon there again.
"""

from engine.fhir.search.keys import Keys
from engine.fhir.search.readers import (
    CACHED_CHARACTERS_MAX,
    CACHED_MAX,
    Pointer,
    ReferenceReader,
)
from engine.fhir.search.rows import Term, Unit


class Terms(dict[tuple[str, str], Term]):
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


class Units(dict[tuple[str, str, str], Unit]):
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


Target = tuple[str, tuple[int, ...]]  # the type of resource, if it is known, and hashes


class Targets(dict[str, Target]):
    """Where references lead, by their text. Nowhere for contained resources and nonsense."""

    def __init__(self, keys: Keys, references: ReferenceReader) -> None:
        self._keys = keys
        self._references = references

    def __missing__(self, text: str) -> Target:
        pointer = self._references.pointer(text)
        target = self.of(pointer) if pointer is not None else ("", ())
        if len(text) <= 2 * CACHED_CHARACTERS_MAX:
            if len(self) >= CACHED_MAX:
                self.clear()
            self[text] = target
        return target

    def of(self, pointer: Pointer) -> Target:
        """The same for what was read already."""
        if pointer.id:
            return pointer.type, (self._keys.target(pointer.type, pointer.id),)
        return pointer.type, tuple(map(self._keys.url, pointer.urls))
