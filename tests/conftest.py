"""Fixtures that tests of every kind use."""

from collections.abc import Iterator

import pytest

from tests.support.scheduling import deterministic_scheduling

SCHEDULER_SEEDS = (1, 2, 3, 4)


@pytest.fixture(params=SCHEDULER_SEEDS, ids=lambda seed: f"seed{seed}")
def scheduler_seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """The test runs once for each seed, its tasks scheduled in another order each time."""
    with deterministic_scheduling(request.param):
        yield request.param
