"""Index rows in words: with the names of paths, and texts in place of hashes."""

from collections.abc import Sequence
from datetime import UTC, tzinfo
from functools import cache
from typing import Any

import msgspec

from engine.fhir.definitions.load import load_definitions
from engine.fhir.search.keys import Keys
from engine.fhir.search.registry import Release, TenantSearch, build_search, path_names
from engine.fhir.search.rows import Rows

SECRET = b"a secret of these tests, 32 bytes"[:32]
BASE = "https://fhir.example.org/fhir"


@cache
def r4() -> Release:
    """Compiled once: nothing in it changes."""
    return Release(load_definitions())


class Indexed:
    """One tenant's search definitions, with the numbers that a store would have given."""

    def __init__(
        self, own: Sequence[dict[str, Any]] = (), *, zone: tzinfo = UTC, secret: bytes = SECRET
    ) -> None:
        self.names = list(path_names(r4(), own))
        self.numbers = {name: number for number, name in enumerate(self.names, 1)}
        self.keys = Keys(secret)
        self.search: TenantSearch = build_search(
            r4(),
            own=own,
            generation=7,
            secret=secret,
            path_numbers=self.numbers,
            base_urls=(BASE,),
            zone=zone,
        )

    def rows(self, resource: dict[str, Any]) -> Rows:
        return self.search.rows(resource["resourceType"], msgspec.json.encode(resource))

    def name(self, p: int) -> str:
        return self.names[p - 1]

    def tokens(self, resource: dict[str, Any]) -> set[tuple[str, str, str]]:
        """Path, system and code of the postings that the dictionary has."""
        rows = self.rows(resource)
        return {
            (self.name(term.path), term.system, term.code)
            for term in rows.terms
            if term.k in rows.tokens
        }

    def at(self, rows: Sequence[tuple[Any, ...]], name: str) -> list[tuple[Any, ...]]:
        """Those rows of one table that stand at a path, without it."""
        return [tuple(row[1:]) for row in rows if row[0] == self.numbers[name]]

    def targets(self, resource: dict[str, Any], name: str) -> set[int]:
        """Hashes of what is referred to at a path."""
        return {target for (target,) in self.at(self.rows(resource).references, name)}
