"""A part that is cancelled leaves nothing, at whatever step that happens."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest
import trio

from backends.door import Door, ThreadDoor
from backends.files import FilesDoors, open_files
from tests.files.conftest import open_descriptors
from tests.support.parts import LINES, batch, key

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS = ("create", "write", "settle", "publish")


class CancellingDoor:
    """A door that cancels whoever comes with a certain call, before it or while it runs."""

    def __init__(self, door: Door, scope: trio.CancelScope, step: str, when: str) -> None:
        self._door = door
        self._scope = scope
        self._step = step
        self._when = when
        self.steps: list[str] = []

    async def call(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        interrupt: Callable[[], None] | None = None,
    ) -> T:
        self.steps.append(function.__name__)
        if function.__name__ != self._step:
            return await self._door.call(function, *args, interrupt=interrupt)
        if self._when == "before":
            self._scope.cancel()
            return await self._door.call(function, *args, interrupt=interrupt)
        token = trio.lowlevel.current_trio_token()

        def cancel_and_do(*args: *Ts) -> T:
            trio.from_thread.run_sync(self._scope.cancel, trio_token=token)
            return function(*args)

        return await self._door.call(cancel_and_do, *args, interrupt=interrupt)


@pytest.mark.parametrize("coding", ["", "gzip"], ids=["plain", "gzip"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_cancel_leaves_no_file_no_folder_and_no_descriptor(
    step: str, when: str, coding: str, tmp_path: Path
) -> None:
    descriptors = open_descriptors()
    scope = trio.CancelScope()
    threads = FilesDoors.threads()
    door = CancellingDoor(threads.writers, scope, step, when)
    doors = FilesDoors(writers=door, readers=threads.readers, upkeep=threads.upkeep)
    async with open_files(tmp_path / "o", coding=coding, doors=doors) as store:
        finished = False
        with scope:
            async with store.open_part(key()) as sink:
                await sink.append(batch(*LINES))
                await sink.finalize()
                finished = True
        assert scope.cancelled_caught and not finished
        assert os.listdir(tmp_path / "o") == []
        assert store.statistics().open_sinks == 0
        assert step in door.steps
    assert open_descriptors() == descriptors


async def test_a_cancel_that_is_caught_inside_the_block_has_removed_both_names(
    tmp_path: Path,
) -> None:
    scope = trio.CancelScope()
    threads = FilesDoors.threads()
    door = CancellingDoor(threads.writers, scope, "publish", "meanwhile")
    doors = FilesDoors(writers=door, readers=threads.readers, upkeep=threads.upkeep)
    async with open_files(tmp_path / "o", doors=doors) as store, store.open_part(key()) as sink:
        await sink.append(batch(*LINES))
        with scope:
            await sink.finalize()
        assert await store.names(key().tenant, key().job) == []


async def test_clean_up_does_not_wait_for_a_thread_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The doors' threads are all taken, and will be for long: it is done without one."""
    upkeep = trio.CapacityLimiter(1)
    inline = FilesDoors.inline()
    doors = FilesDoors(writers=inline.writers, readers=inline.readers, upkeep=ThreadDoor(upkeep))
    async with open_files(tmp_path / "o", doors=doors) as store:
        async with upkeep:
            with trio.CancelScope() as scope:
                async with store.open_part(key()) as sink:
                    await sink.append(batch(*LINES))
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert os.listdir(tmp_path / "o") == []


async def test_a_reader_that_is_cancelled_closes_its_file(tmp_path: Path) -> None:
    async with open_files(tmp_path / "o") as store:
        async with store.open_part(key()) as sink:
            await sink.append(batch(*LINES))
            file = await sink.finalize()
        descriptors = open_descriptors()
        with trio.CancelScope() as scope:
            async with store.read_part(file) as reader:
                scope.cancel()
                await reader.read()
        assert scope.cancelled_caught
        assert store.statistics().open_readers == 0
        assert open_descriptors() == descriptors
