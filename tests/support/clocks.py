"""Clocks for tests: one that is moved by hand, and one that follows trio's (virtual) time."""

import trio

# 2026-01-31T08:30:00Z: any day will do, as long as every run has the same.
START_MS = 1_769_848_200_000


class StoreClockByHand:
    """A store's clock that only moves when it is told to."""

    def __init__(self) -> None:
        self._wall_ms = START_MS
        self._lease_ms = 1_000_000
        self._boot = 1

    def now_ms(self) -> int:
        return self._wall_ms

    def lease_now(self) -> int:
        return self._lease_ms

    def boot_id(self) -> str:
        return f"boot-{self._boot}"

    def advance(self, seconds: float) -> None:
        """Time passes, on both clocks."""
        self._wall_ms += round(seconds * 1000)
        self._lease_ms += round(seconds * 1000)

    def step_wall(self, ms: int) -> None:
        """Somebody sets the wall clock, forward or back. Leases do not notice."""
        self._wall_ms += ms

    def reboot(self) -> None:
        """Another boot: what was measured in the one before means nothing now."""
        self._boot += 1
        self._lease_ms = 1_000


class VirtualClock:
    """Clock and StoreClock on trio's time, so that an autojump clock drives them.

    Made inside a run. The wall clock can be stepped; boot time cannot.
    """

    def __init__(self) -> None:
        self._start = trio.current_time()
        self._step_ms = 0
        self._boot = 1

    def now_ms(self) -> int:
        return START_MS + self._step_ms + self.lease_now()

    def boottime(self) -> float:
        return trio.current_time() - self._start

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def lease_now(self) -> int:
        return int(self.boottime() * 1000)

    def boot_id(self) -> str:
        return f"boot-{self._boot}"

    def step_wall(self, ms: int) -> None:
        """Somebody sets the wall clock, forward or back."""
        self._step_ms += ms

    def reboot(self) -> None:
        """Another boot: every lease of the one before has expired."""
        self._boot += 1
