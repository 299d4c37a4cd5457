"""Changes of several resources: `transact`, and the session that its work is given."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from backends.sqlite.live import Current, delete, find_current, put
from backends.sqlite.opened import Find, OpenedFile
from backends.sqlite.transaction import WriteTransaction
from backends.sqlite.unindexed import Unindexed
from backends.unwaiting import complete
from engine.fhir.search.tree import Query
from engine.model import Prepared, Version, Written

T = TypeVar("T")


class Transact:
    """The side of a tenant's store that does several things at once."""

    _file: OpenedFile

    async def transact(
        self, work: "Callable[[SqliteSession], Awaitable[T]]", *, size_bytes: int = 0
    ) -> T:
        """See engine.ports.Transactions. The work runs in the writer's thread."""
        find = self._file.find
        return await self._file.writer.apply(
            lambda transaction: complete(_work_in(SqliteSession(transaction, find), work)),
            size_bytes=size_bytes,
        )


class SqliteSession:
    """See engine.ports.WriteSession. Nothing here waits: the thread does."""

    def __init__(self, transaction: WriteTransaction, find: Find) -> None:
        self._transaction = transaction
        self._find = find
        self._unindexed = Unindexed(transaction.connection, transaction.known)

    async def read(self, type: str, id: str) -> Version | None:
        """See WriteSession."""
        current = find_current(self._transaction.connection, type, id)
        return None if current is None else current.version

    async def find(self, query: Query, *, limit: int) -> Sequence[Version]:
        """See WriteSession. Raises NotIndexed."""
        self.complete()
        transaction = self._transaction
        return self._find(transaction.connection, query, transaction.definitions, limit=limit)

    async def put(self, resource: Prepared) -> Written:
        """See WriteSession."""
        current = self._current(resource.type, resource.id)
        return put(self._transaction, resource, current, unindexed=self._unindexed)

    async def delete(self, type: str, id: str) -> Version | None:
        """See WriteSession."""
        return delete(self._transaction, type, id, self._current(type, id))

    def complete(self) -> None:
        """Write what is still missing in the index."""
        self._unindexed.write()

    def _current(self, type: str, id: str) -> Current | None:
        """What is there, with all its index rows."""
        current = find_current(self._transaction.connection, type, id)
        if current is None or current.res not in self._unindexed:
            return current
        self.complete()
        return find_current(self._transaction.connection, type, id)


async def _work_in(session: SqliteSession, work: Callable[[SqliteSession], Awaitable[T]]) -> T:
    result = await work(session)
    session.complete()
    return result
