"""The door: calls are waited for, reads are interrupted, effects are reported."""

import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from backends.door import Door, InlineDoor, Interrupted, ThreadDoor
from engine.errors import Conflict


class Stop:
    """A call that ends only when it is interrupted, and says that it was."""

    def __init__(self, begun: Callable[[], None] = lambda: None) -> None:
        self._asked = threading.Event()
        self._begun = begun
        self.ended = False

    def run(self) -> None:
        self._begun()
        self._asked.wait()
        self.ended = True
        raise Interrupted("stopped")

    def interrupt(self) -> None:
        self._asked.set()


@pytest.fixture(params=[lambda: ThreadDoor(trio.CapacityLimiter(1)), InlineDoor])
async def door(request: pytest.FixtureRequest) -> Door:
    return request.param()


async def test_a_call_returns_what_the_function_returned(door: Door) -> None:
    assert await door.call(divmod, 7, 3) == (2, 1)


async def test_a_call_raises_what_the_function_raised(door: Door) -> None:
    def fail() -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        await door.call(fail)


async def test_a_call_of_a_cancelled_task_never_runs(door: Door) -> None:
    ran: list[bool] = []
    with trio.move_on_after(0) as scope:
        await door.call(ran.append, True)
    assert scope.cancelled_caught
    assert ran == []


async def test_an_effect_that_happened_is_reported_although_cancelled(door: Door) -> None:
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:

        def cancel_and_answer() -> str:
            if isinstance(door, ThreadDoor):
                trio.from_thread.run_sync(scope.cancel, trio_token=token)
            else:
                scope.cancel()
            return "done"

        answer = await door.call(cancel_and_answer)
        assert answer == "done"
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_the_answer_of_a_cancelled_read_is_thrown_away(door: Door) -> None:
    token = trio.lowlevel.current_trio_token()
    interrupts: list[bool] = []
    with trio.CancelScope() as scope:

        def cancel() -> None:
            if isinstance(door, ThreadDoor):
                trio.from_thread.run_sync(scope.cancel, trio_token=token)
            else:
                scope.cancel()

        await door.call(cancel, interrupt=lambda: interrupts.append(True))
    assert scope.cancelled_caught


async def test_cancelled_while_it_waits_for_a_place_it_never_runs() -> None:
    door = ThreadDoor(trio.CapacityLimiter(1))
    stop, ran = Stop(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_cancel_or_stop, door, stop)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(door.call, ran.append, True)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        stop.interrupt()
    assert ran == []
    assert await door.call(int, "1") == 1, "the place is free again"


async def _expect_cancel_or_stop(door: Door, stop: Stop) -> None:
    with pytest.raises(Interrupted):
        await door.call(stop.run)


async def test_a_cancel_interrupts_the_call_and_waits_for_its_end() -> None:
    limiter = trio.CapacityLimiter(1)
    door = ThreadDoor(limiter)
    token, begun = trio.lowlevel.current_trio_token(), trio.Event()
    stop = Stop(lambda: token.run_sync_soon(begun.set))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: door.call(stop.run, interrupt=stop.interrupt))
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert stop.ended
    assert limiter.borrowed_tokens == 0


async def test_an_error_that_is_a_bug_is_not_hidden_by_a_cancel() -> None:
    door = ThreadDoor(trio.CapacityLimiter(1))
    asked = threading.Event()

    def fail() -> None:
        asked.wait()
        raise AssertionError("a bug")

    with pytest.RaisesGroup(AssertionError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: door.call(fail, interrupt=asked.set))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
