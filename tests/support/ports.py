"""The engine's ports for tests: on the memory model, or on SQLite and real files.

Time and chance are injected. Without anything said, both follow trio's time, so that a
test under an autojump clock runs through hours at once; threads need the real clock, or
`inline`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import backends
from backends.clock import StoreClock
from backends.files import open_files
from backends.files.names import Coding
from backends.files.store import FilesDoors
from backends.memory import MemoryWorld, open_memory
from engine.clock import Clock, Entropy
from engine.model import WorkerId
from engine.ports import OutputStore, Ports
from tests.support.clocks import VirtualClock
from tests.support.entropy import SeededEntropy

BATCH_ROWS_MAX = 50
W1 = WorkerId("w1")


def memory_world(
    *,
    clock: StoreClock | None = None,
    seed: int = 0,
    batch_rows: Callable[[], int] | None = None,
) -> MemoryWorld:
    """A new world. Its streams give batches of random size, empty ones among them, unless
    told otherwise. Made inside a run, or with a clock."""
    entropy = SeededEntropy(seed)
    return MemoryWorld(
        clock=VirtualClock() if clock is None else clock,
        new_key=lambda: entropy.token(64),
        new_id=entropy.token,
        batch_rows=batch_rows or (lambda: round(entropy.jitter(0, BATCH_ROWS_MAX))),
    )


@asynccontextmanager
async def memory_ports(
    world: MemoryWorld | None = None,
    *,
    worker: WorkerId = W1,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    coding: Coding = "",
) -> AsyncIterator[Ports]:
    """One process's ports into a world, which others may share. Left: the process is dead,
    and nothing of it is open."""
    world = memory_world() if world is None else world
    async with open_memory(world, worker=worker, coding=coding) as backend:
        yield _ports(backend, backend.outputs, clock, entropy)
    assert list(backend.process.open_things()) == []


@asynccontextmanager
async def sqlite_ports(
    folder: Path,
    *,
    worker: WorkerId = W1,
    store_clock: StoreClock | None = None,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    inline: bool = False,
    coding: Coding = "",
) -> AsyncIterator[Ports]:
    """Ports on real files: `folder/data` and `folder/output`. Blocking calls are made in
    threads, or inline for virtual time."""
    doors = FilesDoors.inline() if inline else FilesDoors.threads()
    store_clock = VirtualClock() if store_clock is None else store_clock
    async with (
        backends.open(
            f"sqlite:{folder / 'data'}", worker=worker, clock=store_clock, inline=inline
        ) as backend,
        open_files(folder / "output", coding=coding, doors=doors) as outputs,
    ):
        yield _ports(backend, outputs, clock, entropy)
        statistics = outputs.statistics()
        assert (statistics.open_sinks, statistics.open_readers) == (0, 0)


def _ports(
    backend: backends.Backend,
    outputs: OutputStore,
    clock: Clock | None,
    entropy: Entropy | None,
) -> Ports:
    return backend.ports(
        outputs,
        clock=VirtualClock() if clock is None else clock,
        entropy=SeededEntropy() if entropy is None else entropy,
    )
