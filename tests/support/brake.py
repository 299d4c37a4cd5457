"""A brake: stops an engine at one stage of an export until it is told to go on.

Sits between an engine and its ports. Steps, in the order an export meets them: `plan`,
`save_plan`, `read` (the second batch of a part), `append`, `finalize`, `record`, `finish`.
Each step stops before its effect; `recorded` stops after a part was recorded, before the
engine learns of it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from engine.ports import Ports

STEPS = ("plan", "save_plan", "read", "append", "finalize", "record", "recorded", "finish")


@dataclass
class Brake:
    """Stops whoever meets the step, until `go`."""

    step: str
    reached: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)

    async def stop_at(self, step: str) -> None:
        if step == self.step:
            self.reached.set()
            await self.go.wait()

    def wrap(self, ports: Ports) -> Ports:
        return replace(
            ports,
            tenants=_Tenants(ports.tenants, self),
            export_work=_Work(ports.export_work, self),
            outputs=_Outputs(ports.outputs, self),
        )


class _Through:
    """Everything that is not braked goes straight through."""

    def __init__(self, inner: Any, brake: Brake) -> None:
        self._inner = inner
        self._brake = brake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Tenants(_Through):
    async def store(self, tenant: Any) -> Any:
        return _Store(await self._inner.store(tenant), self._brake)


class _Store(_Through):
    async def plan(self, *args: Any) -> Any:
        await self._brake.stop_at("plan")
        return await self._inner.plan(*args)

    @asynccontextmanager
    async def stream(self, *args: Any) -> AsyncIterator[Any]:
        async with self._inner.stream(*args) as stream:
            yield _Stream(stream, self._brake)


class _Stream(_Through):
    _reads = 0

    async def read(self) -> Any:
        self._reads += 1
        if self._reads == 2:
            await self._brake.stop_at("read")
        return await self._inner.read()


class _Work(_Through):
    async def save_plan(self, *args: Any) -> None:
        await self._brake.stop_at("save_plan")
        await self._inner.save_plan(*args)

    async def record_part(self, *args: Any) -> None:
        await self._brake.stop_at("record")
        await self._inner.record_part(*args)
        await self._brake.stop_at("recorded")

    async def finish(self, *args: Any, **named: Any) -> None:
        await self._brake.stop_at("finish")
        await self._inner.finish(*args, **named)


class _Outputs(_Through):
    @asynccontextmanager
    async def open_part(self, key: Any) -> AsyncIterator[Any]:
        async with self._inner.open_part(key) as sink:
            yield _Sink(sink, self._brake)


class _Sink(_Through):
    async def append(self, batch: Any) -> None:
        await self._brake.stop_at("append")
        await self._inner.append(batch)

    async def finalize(self) -> Any:
        await self._brake.stop_at("finalize")
        return await self._inner.finalize()
