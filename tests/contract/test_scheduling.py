"""Canaries: what the deterministic scheduling of tests rests on is still there."""

import random

import trio
import trio._core._run as trio_run
import trio.testing

from tests.support.scheduling import deterministic_scheduling


def test_the_private_names_of_trio_are_what_they_were():
    assert isinstance(trio_run._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert isinstance(trio_run._r, random.Random)


def test_the_same_seed_gives_the_same_trace():
    traces = [_trace(seed) for seed in range(5)]
    assert traces == [_trace(seed) for seed in range(5)]


def test_seeds_give_different_traces():
    traces = {tuple(_trace(seed)) for seed in range(5)}
    assert len(traces) == 5


def test_what_was_set_before_is_set_after():
    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    with deterministic_scheduling(1):
        assert trio_run._ALLOW_DETERMINISTIC_SCHEDULING is True
    assert (trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()) == before


async def test_a_test_with_a_seed_runs_with_it(scheduler_seed: int):
    assert trio_run._ALLOW_DETERMINISTIC_SCHEDULING is True
    assert scheduler_seed > 0


def _trace(seed: int) -> list[int]:
    """Which of several tasks ran when."""
    trace: list[int] = []

    async def chatter(name: int) -> None:
        for _ in range(10):
            trace.append(name)
            await trio.lowlevel.checkpoint()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            for name in range(6):
                nursery.start_soon(chatter, name)

    with deterministic_scheduling(seed):
        trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return trace
