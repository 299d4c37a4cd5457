"""A network that loses one worker's way to the leases."""

from dataclasses import dataclass, field, replace
from typing import Any

import trio

from engine.errors import StoreUnavailable
from engine.ports import Ports


@dataclass
class CutOff:
    """A network that loses this worker's renewals, claims and releases while `now` is set."""

    now: bool = False
    _inner: Any = field(default=None)

    def wrap(self, ports: Ports) -> Ports:
        self._inner = ports.export_leases
        return replace(ports, export_leases=self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def heartbeat(self, lease: Any) -> None:
        await self._pass()
        await self._inner.heartbeat(lease)

    async def check(self, lease: Any) -> None:
        await self._pass()
        await self._inner.check(lease)

    async def claim(self, *args: Any) -> Any:
        await self._pass()
        return await self._inner.claim(*args)

    async def release(self, lease: Any, **named: Any) -> None:
        await self._pass()
        await self._inner.release(lease, **named)

    async def _pass(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.now:
            raise StoreUnavailable("cut off")
