"""Search definitions for tests of a store, which a reader can work out in the head.

A resource's member `words` makes one row of every kind for each of its words; a word that
begins with `@` is a reference to the Patient of that name. The tenant's own SearchParameters
name further members that do the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from engine.errors import NotSupported
from engine.fhir.definitions.load import load_definitions
from engine.fhir.definitions.model import Definitions, SearchKind
from engine.fhir.search.keys import Keys
from engine.fhir.search.rows import Edge, Rows, Term, Unit
from engine.fhir.search.tree import Parameter, Path

BOTH = int(Edge.LEAST | Edge.GREATEST)


class Words:
    """SearchDefinitions of members that hold words."""

    def __init__(
        self, members: Mapping[str, int], *, generation: int, secret: bytes, before: str = ""
    ) -> None:
        self._before = before
        self.generation = generation
        self._members = members  # and the number of each one's path
        self._keys = Keys(secret)

    @property
    def definitions(self) -> Definitions:
        return load_definitions()

    def parameter(self, type: str, code: str) -> Parameter | None:
        if code not in self._members:
            return None
        return Parameter(type, code, SearchKind.TOKEN, (Path(code, single=False),))

    def parameters(self, type: str) -> Sequence[Parameter]:
        found = (self.parameter(type, code) for code in sorted(self._members))
        return [parameter for parameter in found if parameter is not None]

    def compartment(self, compartment: str) -> Mapping[str, Sequence[Parameter]]:
        return {}

    def rows(self, type: str, body: bytes) -> Rows:
        try:
            resource = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return Rows()  # as for every value that is not what it should be
        said = [
            (p, word if word.startswith("@") else self._before + word)
            for member, p in self._members.items()
            for word in _words(resource, member)
        ]
        plain = [(p, word) for p, word in said if not word.startswith("@")]
        terms = [Term(self._keys.term(p, "", word), p, "", word) for p, word in plain]
        units = [Unit(self._keys.unit(p, "", "", word), p, "", "", word) for p, word in plain]
        return Rows(
            tokens=tuple(sorted(term.k for term in terms)),
            terms=tuple(sorted(terms, key=lambda term: term.k)),
            references=tuple(
                sorted(
                    (p, self._keys.target("Patient", word[1:]))
                    for p, word in said
                    if word.startswith("@")
                )
            ),
            strings=tuple(sorted((p, word.lower(), word, BOTH) for p, word in plain)),
            dates=tuple(sorted((p, len(w), len(w) + 1, BOTH) for p, w in set(_by_length(plain)))),
            numbers=tuple(sorted((p, float(len(w)), BOTH) for p, w in set(_by_length(plain)))),
            quantities=tuple(sorted((unit.path, unit.u, 1.5, BOTH) for unit in units)),
            units=tuple(sorted(units, key=lambda unit: unit.u)),
        )


class WordsMaker:
    """DefinitionsMaker. An own SearchParameter's `code` is the member it looks at; one called
    `unusable` cannot be made."""

    def __init__(self, *members: str, made_for: str = "") -> None:
        self._members = members or ("words",)
        self.made_for = made_for  # put before each word

    def path_names(self, own: Sequence[bytes]) -> Sequence[str]:
        return [*self._members, *(_code(body) for body in own)]

    def make(
        self,
        own: Sequence[bytes],
        *,
        generation: int,
        secret: bytes,
        path_numbers: Mapping[str, int],
        made_for: str,
    ) -> Words:
        members = {name: path_numbers[name] for name in self.path_names(own)}
        return Words(members, generation=generation, secret=secret, before=made_for)


def _code(body: bytes) -> str:
    code = str(msgspec.json.decode(body)["code"])
    if code == "unusable":
        raise NotSupported("this SearchParameter cannot be used")
    return code


def _words(resource: Any, member: str) -> Iterator[str]:
    words = resource.get(member, [])
    yield from dict.fromkeys(words if isinstance(words, list) else [])


def _by_length(said: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    return ((p, "x" * len(word)) for p, word in said)
