"""A process that was paused (SIGSTOP, a suspended machine) and does not know it.

Its clock stands still and its sleeps do not end while it is paused, so its keeper neither
renews nor notices; when it goes on, it goes on as the owner it believes to be.
"""

from dataclasses import replace

import trio

from engine.model import Lease, WorkerId
from engine.ports import Leases, Ports
from tests.support.clocks import VirtualClock


class Pause:
    """Stops one worker's clock and its way to the leases. The worker's clock meanwhile."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._paused_at: float | None = None
        self._resumed = trio.Event()
        self._resumed.set()

    def wrap(self, ports: Ports) -> Ports:
        return replace(ports, clock=self, export_leases=_Leases(ports.export_leases, self))

    def pause(self) -> None:
        self._paused_at = self._clock.boottime()
        self._resumed = trio.Event()

    def resume(self) -> None:
        self._paused_at = None
        self._resumed.set()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def boottime(self) -> float:
        return self._clock.boottime() if self._paused_at is None else self._paused_at

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
        await self.passed()

    async def passed(self) -> None:
        """Wait until the worker runs."""
        await self._resumed.wait()


class _Leases:
    def __init__(self, inner: Leases, pause: Pause) -> None:
        self._inner = inner
        self._pause = pause

    async def claim(self, worker: WorkerId, seconds: float) -> Lease | None:
        await self._pause.passed()
        return await self._inner.claim(worker, seconds)

    async def heartbeat(self, lease: Lease) -> None:
        await self._pause.passed()
        await self._inner.heartbeat(lease)

    async def check(self, lease: Lease) -> None:
        await self._pause.passed()
        await self._inner.check(lease)

    async def release(self, lease: Lease, *, delay_s: float = 0.0, reason: str = "") -> None:
        await self._pause.passed()
        await self._inner.release(lease, delay_s=delay_s, reason=reason)

    async def wait_changed(self, seen: int) -> int:
        mark = await self._inner.wait_changed(seen)
        await self._pause.passed()
        return mark
