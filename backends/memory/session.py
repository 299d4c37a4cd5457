"""Changes of several resources at once, in the memory backend."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from backends.memory import resources
from backends.memory.search import find
from backends.memory.state import Process, StoreState
from backends.unwaiting import complete
from engine.fhir.search.tree import Query
from engine.model import Prepared, Version, Written

T = TypeVar("T")


class MemoryTransact:
    """Transactions of one tenant."""

    _process: Process
    _store: StoreState

    async def transact(
        self, work: "Callable[[MemorySession], Awaitable[T]]", *, size_bytes: int = 0
    ) -> T:
        """See Transactions."""
        return await self._process.effect(lambda: self._transact(work))

    def _transact(self, work: "Callable[[MemorySession], Awaitable[T]]") -> T:
        before = Before.of(self._store)
        try:
            return complete(_work_in(MemorySession(self._process, self._store), work))
        except BaseException:
            before.restore(self._store)
            raise


class MemorySession:
    """WriteSession."""

    def __init__(self, process: Process, store: StoreState) -> None:
        self._process = process
        self._store = store

    async def read(self, type: str, id: str) -> Version | None:
        """See WriteSession."""
        return resources.current_version(self._store, type, id)

    async def find(self, query: Query, *, limit: int) -> Sequence[Version]:
        """See WriteSession."""
        return find(self._process.world, self._store, query, limit=limit)

    async def put(self, resource: Prepared) -> Written:
        """See WriteSession."""
        return resources.update(self._process.world, self._store, resource, None)

    async def delete(self, type: str, id: str) -> Version | None:
        """See WriteSession."""
        return resources.delete(self._process.world, self._store, type, id, None)


@dataclass
class Before:
    """What a change that fails goes back to."""

    seq: int
    last_ms: int
    type_numbers: dict[str, int]

    @classmethod
    def of(cls, store: StoreState) -> Self:
        """The state as it is."""
        return cls(store.seq, store.last_ms, dict(store.type_numbers))

    def restore(self, store: StoreState) -> None:
        """Take back every version that was written since."""
        while store.rows and store.rows[-1].seq > self.seq:
            row = store.rows.pop()
            key = (row.version.type, row.version.id)
            history = store.versions[key]
            assert history.pop() is row
            if history:
                history[-1].replaced_by = None
            else:
                del store.versions[key]
        store.seq, store.last_ms, store.type_numbers = self.seq, self.last_ms, self.type_numbers


async def _work_in(session: MemorySession, work: Callable[[MemorySession], Awaitable[T]]) -> T:
    return await work(session)
