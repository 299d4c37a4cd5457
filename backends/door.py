"""The door: the one narrow way from trio to calls that block.

Two forms behind one Protocol. ThreadDoor runs the call in a thread that is always
waited for, never abandoned. InlineDoor runs it between two checkpoints, for tests on
virtual time: trio counts a task that waits for a thread as idle, and would jump the
clock over it.

A call with an `interrupt` is a read: once cancelled its answer is thrown away. A call
without one is an effect: if it happened, its answer is given although the caller was
cancelled, who meets the cancel at the next checkpoint.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic, NoReturn, Protocol, TypeVar, TypeVarTuple, cast

import outcome
import trio

from engine.errors import PenstockError, Transient

# Of threads that move bytes in bulk, beside those that somebody waits for. Measured on two
# cores at full speed: the 99th percentile of a kick-off fell from 190 ms to between 35 and 130.
BULK_NICENESS = 10

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Interrupted(Transient):
    """The call was stopped on request before it was done."""


class Door(Protocol):
    """Takes blocking calls through, one at a time per free place."""

    async def call(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        interrupt: Callable[[], None] | None = None,
    ) -> T:
        """Run `function(*args)` and return its result.

        Cancelled before it started: it never runs. Cancelled while it runs: `interrupt`,
        if given, is called from the loop's thread, and the call is waited for in any case.
        """
        ...


class ThreadDoor:
    """Runs calls in threads, as many at once as the limiter has places."""

    def __init__(self, limiter: trio.CapacityLimiter, *, bulk: bool = False) -> None:
        self._limiter = limiter
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0) + (BULK_NICENESS if bulk else 0)

    async def call(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        interrupt: Callable[[], None] | None = None,
    ) -> T:
        """See Door.call."""
        passage: _Passage[T] = _Passage(self._limiter, interrupt)
        await self._limiter.acquire_on_behalf_of(passage)
        try:
            trio.lowlevel.start_thread_soon(partial(self._run, function, *args), passage.deliver)
        except BaseException:  # no thread could be started
            self._limiter.release_on_behalf_of(passage)
            raise
        return cast("T", await trio.lowlevel.wait_task_rescheduled(passage.abort))

    def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """In the thread. Threads are used again for any work, so each call sets its own
        priority; where a raise is not allowed to this user, they stay where they were. (On
        Linux, who = 0 is the calling thread.)"""
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, self._niceness)
        return function(*args)


class InlineDoor:
    """Runs calls in the loop's own thread, between two checkpoints."""

    async def call(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        interrupt: Callable[[], None] | None = None,
    ) -> T:
        """See Door.call."""
        await trio.lowlevel.checkpoint()
        result = function(*args)
        if interrupt is not None:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return result


class _Passage(Generic[T]):
    """One call on its way: who waits for it, and whether it was cancelled meanwhile.

    Also the borrower in the limiter's eyes, because one task may not borrow twice.
    """

    def __init__(self, limiter: trio.CapacityLimiter, interrupt: Callable[[], None] | None) -> None:
        self._limiter = limiter
        self._interrupt = interrupt
        self._task = trio.lowlevel.current_task()
        self._token = trio.lowlevel.current_trio_token()
        self._raise_cancel: Callable[[], NoReturn] | None = None

    def abort(self, raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        """Trio asks to cancel: stop the call if that is allowed, and wait for it all the same."""
        self._raise_cancel = raise_cancel
        if self._interrupt is not None:
            self._interrupt()
        return trio.lowlevel.Abort.FAILED

    def deliver(self, result: outcome.Outcome[T]) -> None:
        """In the thread: hand the result to the loop."""
        with suppress(trio.RunFinishedError):  # the loop itself crashed: nobody waits
            self._token.run_sync_soon(self._arrive, result)

    def _arrive(self, result: outcome.Outcome[T]) -> None:
        """In the loop: free the place and wake the caller."""
        self._limiter.release_on_behalf_of(self)
        if self._raise_cancel is not None and self._is_moot(result):
            result = outcome.capture(self._raise_cancel)
        trio.lowlevel.reschedule(self._task, result)

    def _is_moot(self, result: outcome.Outcome[T]) -> bool:
        """A read's answer, or a refusal by the store, says nothing to who was cancelled.
        A bug's error does."""
        if isinstance(result, outcome.Error):
            return isinstance(result.error, PenstockError)
        return self._interrupt is not None
