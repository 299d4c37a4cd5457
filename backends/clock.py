"""StoreClock: the store's own time, never compared with a worker's.

`lastUpdated` and `transactionTime` run by `now_ms`, leases by `lease_now` of one boot.
Tests inject a clock that steps.
"""

import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StoreClock(Protocol):
    """Time as one store sees it. Called from any thread."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970 UTC. May step both ways."""
        ...

    def lease_now(self) -> int:
        """Milliseconds that never step and go on while the machine sleeps."""
        ...

    def boot_id(self) -> str:
        """Which boot `lease_now` belongs to: two values of different boots do not compare."""
        ...


class SystemStoreClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def lease_now(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def boot_id(self) -> str:
        return _BOOT_ID.read_text(encoding="ascii").strip()
