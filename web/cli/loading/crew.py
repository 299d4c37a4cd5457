"""The crew of a load: who parses, validates and packs, in processes or in a thread.

Cuts are dealt out in turn and each hand answers in the order it was given, so whoever takes from
the hands in the same turn has everything in order, and nothing has to be kept for later: a hand
that is ahead of its turn waits with its output.
"""

import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import msgspec
import trio

from engine.errors import Permanent
from engine.limits import MIB
from engine.ports import Packer
from web.cli.loading.cutting import Cut
from web.cli.loading.parsing import Rules
from web.cli.loading.worker import KIND_CUT, KIND_PACKER, LENGTH_BYTES, Batch, Work, framed

END_SECONDS_MAX = 5
PIPE_BYTES = MIB  # the most that Linux lets everybody have
_RECEIVED_BYTES = MIB // 4


class WorkerLost(Permanent):
    """A worker process has ended, which it does not by itself."""


class Hand(Protocol):
    """One of the crew."""

    async def give(self, cut: Cut) -> None:
        """Hand over a cut; may wait until those before are taken."""
        ...

    async def take(self) -> Batch:
        """The next batch of the cuts that were given. Raises WorkerLost."""
        ...

    async def renew(self, packer: Packer) -> None:
        """Pack with this one from the next cut on."""
        ...


class ThreadHand:
    """A hand in this process."""

    def __init__(self, rules: Rules, packer: Packer) -> None:
        self._work = Work(rules, packer)
        self._send, self._receive = trio.open_memory_channel[Cut](1)
        self._batches: Iterator[Batch] = iter(())
        self._limiter = trio.CapacityLimiter(1)  # its own, so that it waits for no other's work

    async def give(self, cut: Cut) -> None:
        """See Hand."""
        await self._send.send(cut)

    async def take(self) -> Batch:
        """See Hand."""
        while (batch := await self._next()) is None:
            self._batches = self._work.batches(await self._receive.receive())
        return batch

    async def _next(self) -> Batch | None:
        return await trio.to_thread.run_sync(
            partial(next, self._batches, None), limiter=self._limiter
        )

    async def renew(self, packer: Packer) -> None:
        """See Hand."""
        await trio.lowlevel.checkpoint()
        self._work.packer = packer


class ProcessHand:
    """A hand that is a process."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self._input = process.stdin
        self._output = process.stdout
        self._received = bytearray()
        self._giving = trio.Lock()
        self._cuts = msgspec.msgpack.Encoder()
        self._batches = msgspec.msgpack.Decoder(Batch)

    async def give(self, cut: Cut) -> None:
        """See Hand."""
        await self._send(framed(self._cuts.encode(cut), KIND_CUT))

    async def renew(self, packer: Packer) -> None:
        """See Hand."""
        await self._send(framed(pickle.dumps(packer), KIND_PACKER))

    async def begin(self, rules: Rules, packer: Packer) -> None:
        """First of all."""
        await self._send(framed(pickle.dumps((rules, packer))))

    async def take(self) -> Batch:
        """See Hand."""
        length = int.from_bytes(await self._read(LENGTH_BYTES), "big")
        return self._batches.decode(await self._read(length))

    async def _send(self, frame: bytes) -> None:
        # A process that has ended is noticed, and told, by who takes from it.
        async with self._giving:
            with suppress(trio.BrokenResourceError):
                await self._input.send_all(frame)

    async def _read(self, length: int) -> bytes:
        received = self._received
        while len(received) < length:
            piece = await self._output.receive_some(_RECEIVED_BYTES)
            if not piece:
                raise await self._lost()
            received += piece
        taken = bytes(memoryview(received)[:length])
        del received[:length]
        return taken

    async def _lost(self) -> WorkerLost:
        with trio.move_on_after(END_SECONDS_MAX):
            await self.process.wait()
        return WorkerLost(
            f"a worker process ended too early (status {self.process.returncode}): what was told "
            "is in the store, and the same command goes on; --workers 0 does without processes"
        )


@asynccontextmanager
async def open_crew(workers: int, rules: Rules, packer: Packer) -> AsyncIterator[Sequence[Hand]]:
    """So many worker processes; 0: one hand in this process. After the block none of them is
    there any more."""
    if not workers:
        yield [ThreadHand(rules, packer)]
        return
    processes: list[trio.Process] = []
    try:
        for _ in range(workers):
            processes.append(await _start())
        hands = [ProcessHand(process) for process in processes]
        for hand in hands:
            await hand.begin(rules, packer)
        yield hands
    finally:
        for process in processes:
            process.kill()  # there is nothing that it would have to put in order
        with trio.move_on_after(END_SECONDS_MAX, shield=True):
            for process in processes:
                await process.wait()
                await _close(process)


async def _start() -> trio.Process:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "web.cli.loading.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    for stream in (process.stdin, process.stdout):
        assert isinstance(stream, trio.lowlevel.FdStream)
        with suppress(OSError):  # less is only slower
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process


async def _close(process: trio.Process) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()
