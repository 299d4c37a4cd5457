"""HTTP spoken by hand over real sockets, for clients that do not behave."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11
import trio
from quart_trio import QuartTrio

from web.server import serve

WAIT_SECONDS_MAX = 20  # for what happens at once unless something is broken
READ_BYTES = 65536


@dataclass
class Serving:
    """A server in the test's own nursery."""

    addresses: list[str]
    shutdown: trio.Event
    ended: trio.Event

    async def connect(self) -> trio.SocketStream:
        host, _, port = self.addresses[0].removeprefix("http://").rpartition(":")
        return await trio.open_tcp_stream(host, int(port))

    async def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.shutdown.set()
        with trio.fail_after(WAIT_SECONDS_MAX):
            await self.ended.wait()


@asynccontextmanager
async def serving(
    app: QuartTrio,
    *,
    bind: tuple[str, ...] = ("127.0.0.1:0",),
    send_seconds: float = 60.0,
    grace_seconds: float = 0.2,
) -> AsyncIterator[Serving]:
    """Serve until the block is left. A server that does not end fails the test."""
    shutdown, ended = trio.Event(), trio.Event()

    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        await serve(
            app,
            bind,
            shutdown=shutdown,
            send_seconds=send_seconds,
            grace_seconds=grace_seconds,
            task_status=task_status,
        )
        ended.set()

    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(run)
        server = Serving(addresses, shutdown, ended)
        with trio.fail_after(WAIT_SECONDS_MAX):
            yield server
        await server.stop()


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection, and one request after the other on it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def begin(self, method: str, path: str, **headers: str) -> None:
        """Send a request's head."""
        named = [("Host", "test"), *((k.replace("_", "-"), v) for k, v in headers.items())]
        await self._send(h11.Request(method=method, target=path, headers=named))

    async def data(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """Send the body's end."""
        await self._send(h11.EndOfMessage())

    async def get(self, path: str, **headers: str) -> Answer:
        """One request without a body, and its answer."""
        await self.begin("GET", path, **headers)
        await self.end()
        answer = await self.answer()
        self._http.start_next_cycle()
        return answer

    async def answer(self) -> Answer:
        """Read until the answer ends. Raises h11.RemoteProtocolError if it is cut short."""
        status, headers, body = 0, {}, bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.stream.receive_some(READ_BYTES))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, headers, bytes(body))
            else:
                raise AssertionError(f"{type(event).__name__} before the end of an answer")

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self.stream.send_all(data)
