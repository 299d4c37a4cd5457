"""The searching side of a tenant's store."""

from typing import Final

import apsw

from backends.sqlite.connection import Tuning
from backends.sqlite.opened import OpenedFile
from backends.sqlite.search.run import count, one_state, search_page
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.tree import Query
from engine.model import Found

# A search looks into several indexes, all over the file; 8 MiB hold their upper pages.
SEARCHER: Final = Tuning(read_only=True, cache_kib=8192)


class Search:
    """ResourceSearch of one tenant."""

    _file: OpenedFile

    async def search_definitions(self) -> SearchDefinitions:
        """See engine.ports.ResourceSearch."""
        return await self._file.points.call(self._file.definitions.current)

    async def search(self, query: Query, *, limit: int, position: bytes = b"") -> Found:
        """See engine.ports.ResourceSearch."""
        return await self._file.searches.call(self._page, query, limit, position)

    async def count(self, query: Query) -> int:
        """See engine.ports.ResourceSearch."""
        return await self._file.searches.call(self._count, query)

    # In the door's thread.

    def _page(
        self, connection: apsw.Connection, query: Query, limit: int, position: bytes
    ) -> Found:
        with one_state(connection):  # the definitions are those of the state that is searched
            search = self._file.definitions.current(connection)
            return search_page(connection, query, search, limit=limit, position=position)

    def _count(self, connection: apsw.Connection, query: Query) -> int:
        with one_state(connection):
            return count(connection, query, self._file.definitions.current(connection))
