"""What the sides of one tenant's store share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import apsw

from backends.clock import StoreClock
from backends.sqlite.definitions import TenantDefinitions
from backends.sqlite.doors import Doors
from backends.sqlite.readers import Readers
from backends.sqlite.writer import Writer
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.tree import Query
from engine.model import Version


class Find(Protocol):
    """Searches on a connection, which may be the writer's."""

    def __call__(
        self, connection: apsw.Connection, query: Query, search: SearchDefinitions, *, limit: int
    ) -> Sequence[Version]:
        """Up to so many live matches, in the query's order. Raises NotIndexed."""
        ...


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """One opened file."""

    id: str  # the store's: a restored or replaced one has another
    clock: StoreClock
    doors: Doors
    points: Readers  # for single reads
    scans: Readers  # for plans and streams; bounded in what a statement may build
    searches: Readers  # for queries, which take longer than single reads
    writer: Writer
    definitions: TenantDefinitions
    find: Find  # for searches inside a change
