"""Random histories give the same versions, cuts and exports on SQLite and on the model."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backends
from backends.definitions import ReleaseMakers, SearchSettings
from backends.memory import MemoryWorld, open_memory
from engine.errors import Conflict, VersionMismatch
from engine.model import (
    ExportRequest,
    Prepared,
    Snapshot,
    StoreStatistics,
    Version,
    WorkerId,
)
from engine.ports import TenantStore
from tests.support.builders import numbered, prepared
from tests.support.clocks import START_MS, StoreClockByHand
from tests.support.entropy import SeededEntropy
from tests.support.exports import ACME, export

TYPES = ("Patient", "Observation", "Group")
IDS = ("a", "b", "c")
CLOCK_STEPS = ("step_wall", "advance", "reboot")
MEMBERS = (b"", b'"n":1', b'"n":2', b'"n":1.0', b'"t":"' + b"x" * 3000 + b'"')

MAKERS = ReleaseMakers(SearchSettings())  # one for all openings: it takes a while to make

resources = st.builds(
    prepared, st.sampled_from(TYPES), st.sampled_from(IDS), st.sampled_from(MEMBERS)
)
versions = st.none() | st.integers(1, 4)


def _large(padding: int) -> list[Prepared]:
    """A batch as a loader makes them: enough rows for the store to note their extents."""
    return numbered("Observation", 1_050, padding=padding)


@dataclass(frozen=True)
class Step:
    """One thing that happens: a call, or the clock moving."""

    name: str
    args: tuple[Any, ...] = ()
    if_match: int | None = None


steps = st.one_of(
    st.builds(lambda one: Step("create", (one,)), resources),
    st.builds(lambda one, match: Step("update", (one,), match), resources, versions),
    st.builds(
        lambda type, id, match: Step("delete", (type, id), match),
        st.sampled_from(TYPES),
        st.sampled_from(IDS),
        versions,
    ),
    st.builds(
        lambda after, keep: Step("prune", (START_MS + after, keep)),
        st.integers(-60, 60),
        st.integers(1, 3),
    ),
    st.builds(lambda batch: Step("ingest", (batch,)), st.lists(resources, max_size=8)),
    st.builds(lambda padding: Step("ingest", (_large(padding),)), st.sampled_from((0, 1, 900))),
    st.builds(lambda job: Step("open_snapshot", (job,)), st.sampled_from(("j1", "j2", "j3"))),
    st.builds(lambda job: Step("close_snapshot", (job,)), st.sampled_from(("j1", "j2", "j3"))),
    st.builds(lambda ms: Step("step_wall", (ms,)), st.integers(-50, 50)),
    st.builds(lambda seconds: Step("advance", (seconds,)), st.sampled_from((0.001, 0.5, 30.0))),
    st.just(Step("reboot")),
    st.just(Step("reopen")),
)
requests = st.builds(
    lambda since, until, types: ExportRequest(
        since_ms=since and START_MS + since, until_ms=until and START_MS + until, types=types
    ),
    st.none() | st.integers(-60, 60),
    st.none() | st.integers(-60, 60),
    st.just(()) | st.lists(st.sampled_from(TYPES), unique=True).map(tuple),
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,  # the same histories in every run: a failure is never a flake
)
@given(st.lists(steps, max_size=25), st.lists(requests, min_size=1, max_size=4))
def test_any_history_gives_the_same_on_both(
    history: list[Step], asked: list[ExportRequest]
) -> None:
    with TemporaryDirectory(prefix="penstock-model-", dir=_fast_folder()) as folder:
        sqlite = trio.run(_run, _Sqlite(Path(folder)), history, asked)
    assert sqlite == trio.run(_run, _Memory(), history, asked)


def _fast_folder() -> str | None:
    """A file system in memory, where there is one: thousands of commits wait for no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class _Memory:
    """Opens the model, each time on the same world."""

    def __init__(self) -> None:
        self.clock = StoreClockByHand()
        entropy = SeededEntropy()
        self._world = MemoryWorld(clock=self.clock, new_key=entropy.token, new_id=entropy.token)

    def open(self, worker: str) -> Any:
        return open_memory(self._world, worker=WorkerId(worker))


class _Sqlite:
    """Opens the real store inline, each time in the same folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = StoreClockByHand()
        self._url = f"sqlite:{folder}"

    def open(self, worker: str) -> Any:
        return backends.open(
            self._url, worker=WorkerId(worker), clock=self.clock, inline=True, search=MAKERS
        )


async def _run(
    place: _Memory | _Sqlite, history: list[Step], asked: list[ExportRequest]
) -> list[Any]:
    """Everything that can be seen of a history: answers, versions, exports."""
    seen: list[Any] = []
    snapshots: list[Snapshot] = []
    for number, run in enumerate(_runs(history)):
        async with place.open(f"w{number}") as backend:
            await backend.tenants.ensure(ACME)
            store = await backend.tenants.store(ACME)
            for step in run:
                seen.append(await _take(store, place.clock, step, snapshots))
            seen.append(await _versions(store))
            for snapshot in snapshots:
                for part_bytes in (8 * 1024, 1 << 20):
                    seen += [
                        await export(store, snapshot, request, part_bytes=part_bytes)
                        for request in asked
                    ]
    return seen


def _runs(history: list[Step]) -> list[list[Step]]:
    """The steps between two reopenings."""
    runs: list[list[Step]] = [[]]
    for step in history:
        if step.name == "reopen":
            runs.append([])
        else:
            runs[-1].append(step)
    return runs


async def _take(
    store: TenantStore, clock: StoreClockByHand, step: Step, snapshots: list[Snapshot]
) -> Any:
    if step.name in CLOCK_STEPS:
        return getattr(clock, step.name)(*step.args)
    if step.name == "prune":
        return await _prune(store, *step.args)
    options = {} if step.if_match is None else {"if_match": step.if_match}
    try:
        answer = await getattr(store, step.name)(*step.args, **options)
    except (Conflict, VersionMismatch) as error:
        return type(error)
    if isinstance(answer, Snapshot):
        snapshots.append(answer)
        return answer.t_ms  # ids of stores are random, and sequence numbers may have gaps
    return answer


async def _prune(store: TenantStore, older_than_ms: int, keep: int) -> int:
    """How many versions went."""
    step = await store.prune(older_than_ms=older_than_ms, keep=keep)
    assert step.cursor is None
    return step.removed


async def _versions(store: TenantStore) -> list[Any]:
    """Every version of every resource, and the facts of the store."""
    there = []
    for type in TYPES:
        for id in IDS:
            newest = await store.read(type, id)
            numbers = range(1, newest.version + 1) if newest is not None else ()
            there += [await store.vread(type, id, number) for number in numbers]
    pins = sorted((pin.job, pin.snapshot.t_ms, pin.age_s) for pin in await store.pins())
    histories = await _histories(store)
    return [there, pins, histories, _facts(await store.statistics())]


async def _histories(store: TenantStore) -> list[Any]:
    """Of some times, and by pages: a small one and the rest."""
    seen = []
    for what in ((), ("Patient",), ("Patient", "a")):
        for times in ({}, {"since_ms": START_MS + 20}, {"at_ms": (START_MS + 10, START_MS + 30)}):
            first = await store.history(*what, limit=2, **times)
            versions, position = list(first.versions), first.position
            if position:
                rest = await store.history(*what, limit=10_000, position=position, **times)
                assert (rest.position, rest.total) == (0, first.total)
                versions += rest.versions
            assert len(versions) == first.total
            if not what:
                # Types of one batch come one after the other, where the model mixes them.
                assert versions == sorted(versions, key=_when, reverse=True)
                versions.sort(key=lambda one: (one.type, one.id, one.version))
            seen.append(versions)
    return seen


def _when(version: Version) -> int:
    return version.updated_ms


def _facts(statistics: StoreStatistics) -> Any:
    rows = {type: count for type, count in statistics.rows.items() if count}
    return statistics.cut_ms, statistics.last_ms, statistics.open_snapshots, rows
