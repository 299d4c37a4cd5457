"""The one place that switches on trio's deterministic scheduling.

It uses private names of trio: tests/contract/test_scheduling.py fails if they go.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio._core._run as trio_run


@contextmanager
def deterministic_scheduling(seed: int) -> Iterator[None]:
    """Runs started in this block schedule their tasks in an order that `seed` decides, and
    always in the same one, as long as no thread and no socket takes part."""
    allowed, state = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r.seed(seed)
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        trio_run._r.setstate(state)
