"""The simulation can see: each bug that is planted in engine or backend is noticed."""

import multiprocessing

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.campaign import PROCESSES, first_catch
from tests.simulation.simulation import Outcome

SEEDS_MAX = 500


@pytest.fixture(scope="module")
def catches() -> dict[str, Outcome | None]:
    """For each bug the first outcome in which it shows. All at once, over two processes."""
    jobs = [(bug, range(1, SEEDS_MAX + 1)) for bug in BUGS]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        return dict(zip(BUGS, pool.starmap(first_catch, jobs, chunksize=1), strict=True))


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_the_simulation_notices(bug, catches):
    outcome = catches[bug]
    assert outcome is not None, f"not noticed in {SEEDS_MAX} seeds: {BUGS[bug].what}"
    assert outcome.broken


def test_every_planted_bug_says_what_it_does():
    assert len(BUGS) >= 25
    assert all(bug.what for bug in BUGS.values())
