"""Polling: how often the status of one export may be asked for (E49). No I/O.

A bucket of tokens for each address of a status, so that one impatient client slows
nobody else down, and waiting always helps: a poll that was refused costs nothing.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from engine.errors import TooMany
from engine.model import JobId
from engine.tenant import TenantId

JOBS_MAX = 10_000  # remembered at a time, at about 300 bytes each
ROUNDING_S = 1e-6  # a sum of intervals may be a little more than it should


class PollLimit:
    """Counts polls by tenant and job, whether there is such a job or not."""

    def __init__(
        self, clock: Callable[[], float], *, per_second: float, burst: int, jobs_max: int = JOBS_MAX
    ) -> None:
        """`burst` polls may come at once, and from then on `per_second`. `clock`: seconds
        that never step."""
        self._clock = clock
        self._interval_s = 1 / per_second
        self._ahead_s_max = (burst - 1) * self._interval_s
        self._jobs_max = jobs_max
        # When the bucket is full again; the bucket that was used last comes last.
        self._full_at: OrderedDict[tuple[TenantId, JobId], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, tenant: TenantId, job: JobId) -> None:
        """Count a poll. Raises TooMany if it came too early; it does not count then."""
        now, key = self._clock(), (tenant, job)
        full_at = max(now, self._full_at.get(key, now))
        wait_s = full_at - now - self._ahead_s_max
        if wait_s > ROUNDING_S:
            raise TooMany(
                "the status of this export is asked for too often: wait as long as the "
                "Retry-After of each answer says",
                retry_after_s=max(1, math.ceil(wait_s)),
            )
        self._full_at[key] = full_at + self._interval_s
        self._full_at.move_to_end(key)
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop what a new bucket would say as well, and beyond the bound the oldest: whoever
        that is may poll a little more than is fair."""
        while self._full_at:
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._jobs_max:
                return
            del self._full_at[key]
