"""Clock and Entropy: the only source of time and randomness that the engine uses.

The store has a clock of its own (leases and lastUpdated run by that one); two
clocks are never compared with each other.
"""

import random
import secrets
import time
from typing import Protocol

import trio


class Clock(Protocol):
    """Time as one process sees it."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970 UTC. For people to read, never for leases."""
        ...

    def boottime(self) -> float:
        """Seconds that never step and go on while the machine sleeps (CLOCK_BOOTTIME)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a checkpoint even for 0."""
        ...


class Entropy(Protocol):
    """Randomness, replaced by a seeded source in tests."""

    def token(self, bits: int = 128) -> str:
        """An unguessable lower-case hex string."""
        ...

    def jitter(self, low: float, high: float) -> float:
        """A number between low and high."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class SystemEntropy:
    """The operating system's randomness."""

    def token(self, bits: int = 128) -> str:
        return secrets.token_hex(bits // 8)

    def jitter(self, low: float, high: float) -> float:
        return random.uniform(low, high)  # noqa: S311 -- spreads retries, guards nothing
