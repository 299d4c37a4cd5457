"""One write transaction of a tenant's file, shared by a group of requests.

Blocking code without trio, run through the door by the writer actor. The rules of
time live here: in every transaction `seq`, `cut` and `last` are read from the file
under its lock, a write takes `max(now, cut + 1, last)`, and a kick-off takes
`max(now, cut, last)`. So lastUpdated <= transactionTime if and only if visible,
whatever the clock does and however many processes write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw
import outcome

from backends.clock import StoreClock
from backends.sqlite.connection import roll_back, translating
from backends.sqlite.definitions import TenantDefinitions
from backends.sqlite.index import KnownKeys
from engine.errors import PenstockError
from engine.fhir.search.definitions import SearchDefinitions
from engine.instant import format_instant
from engine.model import Snapshot

R = TypeVar("R")

GROUP_MS_MAX = 250  # a kick-off or a single write waits at most about this long for a group


@dataclass(frozen=True, kw_only=True)
class Target:
    """The file that transactions are of, and what its writer knows of it."""

    path: Path
    clock: StoreClock
    definitions: TenantDefinitions
    known: KnownKeys  # of the index's dictionaries


class WriteTransaction:
    """What an operation is given: the connection inside BEGIN IMMEDIATE, and the counters."""

    def __init__(self, connection: apsw.Connection, target: Target) -> None:
        clock = target.clock
        self.connection = connection
        self.clock = clock
        self.known = target.known
        self.keys = target.definitions.keys
        self._path = target.path
        self._all_definitions = target.definitions
        # Before anything is written: what is not committed must not be taken for what holds.
        self._definitions = target.definitions.current(connection)
        self._redefined = False
        self._written_ms, self._instant = 0, ""
        self._now_ms = clock.now_ms()
        row = connection.execute("SELECT store, seq, cut_ms, last_ms FROM meta").fetchone()
        assert row is not None, "a prepared file has its meta row"
        self.store = str(row[0])
        self._seq, self._cut_ms, self._last_ms = self._found = _counters(*row[1:])

    @property
    def seq(self) -> int:
        """The newest number taken."""
        return self._seq

    @property
    def definitions(self) -> SearchDefinitions:
        """What can be searched for, as far as this transaction is: what index rows are made by."""
        return self._definitions

    def redefine(self, written: Sequence[bytes] = ()) -> None:
        """SearchParameters were written or deleted: make the next generation. Raises BadRequest
        if one of `written` can be no parameter."""
        self._definitions = self._all_definitions.change(
            self.connection, self._definitions.generation + 1, written=written
        )
        self._redefined = True

    def renew_definitions(self) -> None:
        """The index was emptied: the next generation, for the settings of now."""
        generation = self._definitions.generation + 1
        self._definitions = self._all_definitions.renew(self.connection, generation)
        self._redefined = True

    def stamp(self) -> int:
        """The lastUpdated of a write made now."""
        self._last_ms = max(self._now_ms, self._cut_ms + 1, self._last_ms)
        return self._last_ms

    @property
    def instant(self) -> str:
        """The newest stamp as FHIR writes it."""
        if self._written_ms != self._last_ms:
            self._written_ms, self._instant = self._last_ms, format_instant(self._last_ms)
        return self._instant

    def take_seq(self, count: int) -> int:
        """Take the next `count` numbers and return the last one."""
        self._seq += count
        return self._seq

    def cut(self) -> Snapshot:
        """Fix a state and its time. Later writes are later than it, also in this group."""
        self._cut_ms = max(self._now_ms, self._cut_ms, self._last_ms)
        return Snapshot(self.store, self._seq, self._cut_ms)

    def attempt(self, operation: "Callable[[WriteTransaction], R]") -> outcome.Outcome[R]:
        """Run one operation in a savepoint of its own; what it raises undoes it alone.

        Some errors end the whole transaction: the caller looks at `connection.in_transaction`.
        """
        before = self._seq, self._cut_ms, self._last_ms
        definitions = self._definitions, self._redefined
        self.connection.execute("SAVEPOINT request")
        answer = outcome.capture(self._run, operation)
        if self.connection.in_transaction:
            if isinstance(answer, outcome.Error):
                self.connection.execute("ROLLBACK TO request")
                self._seq, self._cut_ms, self._last_ms = before
                self._definitions, self._redefined = definitions
                self.known.roll_back()
            self.connection.execute("RELEASE request")
        return answer

    def save_counters(self) -> None:
        """Last before COMMIT. Nothing is written if nothing was: such a commit costs no fsync."""
        counters = (self._seq, self._cut_ms, self._last_ms)
        if counters != self._found:
            self.connection.execute("UPDATE meta SET seq = ?, cut_ms = ?, last_ms = ?", counters)

    def note_commit(self) -> None:
        """After COMMIT: what was found out in it holds for everybody."""
        self.known.commit()
        if self._redefined:
            self._all_definitions.publish(self._definitions)

    def _run(self, operation: "Callable[[WriteTransaction], R]") -> R:
        with translating(self._path):
            return operation(self)


def _counters(seq: Any, cut_ms: Any, last_ms: Any) -> tuple[int, int, int]:
    return int(seq), int(cut_ms), int(last_ms)


Operation = Callable[[WriteTransaction], R]


class Request(Generic[R]):
    """One operation, its caller's state and its answer."""

    def __init__(self, operation: Operation[R]) -> None:
        self.operation = operation
        self.gone = False  # the caller was cancelled: not worth starting any more
        self.answer: outcome.Outcome[R] | None = None  # None: not tried, or not committed


def apply_group(
    connection: apsw.Connection, target: Target, requests: "Sequence[Request[Any]]"
) -> None:
    """Apply as many requests as fit into the time, in one commit, and set their answers.

    If one of them broke the transaction, it alone gets the error, and the innocent ones
    are applied again. If BEGIN or COMMIT failed, all get that error.
    """
    todo = list(requests)
    while todo:
        culprit = _try_group(connection, target, todo)
        if culprit is None:
            return
        todo.remove(culprit)


def _try_group(
    connection: apsw.Connection, target: Target, todo: "list[Request[Any]]"
) -> "Request[Any] | None":
    """One transaction. Returns the request that broke it, answered, or None if it ended."""
    tried: list[tuple[Request[Any], outcome.Outcome[Any]]] = []
    try:
        with translating(target.path):
            connection.execute("BEGIN IMMEDIATE")
            end_ms = target.clock.lease_now() + GROUP_MS_MAX
            transaction = WriteTransaction(connection, target)
            for request in todo:
                if tried and target.clock.lease_now() >= end_ms:
                    break
                if request.gone:
                    continue
                answer = transaction.attempt(request.operation)
                if not connection.in_transaction:
                    request.answer = answer
                    return request
                tried.append((request, answer))
            transaction.save_counters()
            connection.execute("COMMIT")
            transaction.note_commit()
    except PenstockError as error:
        tried = [(request, outcome.Error(error)) for request in todo]
    finally:
        target.known.roll_back()  # nothing, after a commit
        roll_back(connection)
    for request, answer in tried:
        request.answer = answer
    return None
