"""Server: Hypercorn's connections on our own listeners, in the caller's nursery.

Hypercorn's `serve` shields its writes, so that a client which stopped reading would
keep the process from ending, and ties the engine's life to the framework's. Here the
listeners, their order of closing and every deadline are ours; the protocol is theirs.
"""

import math
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.typing import Event as HypercornEvent
from hypercorn.utils import repr_socket_addr
from quart_trio import QuartTrio

from engine.errors import SettingInvalid

log = structlog.get_logger()

PIECE_BYTES = 512 * 1024  # sent under one deadline: the slowest client that is kept takes
# one of them per send_seconds
JOINED_BYTES_MAX = 64 << 10  # more is not copied only to save a packet
HEADER_BYTES_MAX = 64 << 10  # a search for 1,000 identifiers in the URL fits
BACKLOG = 1024  # connections that the kernel holds until they are accepted
KEEP_ALIVE_SECONDS = 30  # also the time that a client has for its headers
LINGER_SECONDS_MAX = 2.0  # for a client to read the answer while it still sends its body
LINGER_BYTES_MAX = 64 << 20
CLOSE_SECONDS_MAX = 1.0


class BoundedTCPServer(TCPServer):
    """One connection. A write that does not move ends it, and cancellation ends a write."""

    stream: trio.SocketStream  # type: ignore[assignment] # plain: a proxy in front does TLS
    send_seconds = 60.0
    _head = b""  # of a response whose first piece goes out with it, in one packet
    _lingering: trio.CancelScope | None = None
    _read_to_the_end = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.idle_task = _IdleWatch(self.config.keep_alive_timeout)  # type: ignore[assignment] # a task a pause costs too much

    async def run(self) -> None:
        """Serve until either side is done. A fault of one connection ends that one alone:
        this is the outermost frame of what a client can make the protocol code do."""
        try:
            await super().run()
        except Exception as error:
            log.error("connection failed", error=type(error).__name__)

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send_joined(event.data)
        elif isinstance(event, Closed):
            await self.protocol.handle(Closed())
            await self._start_lingering()
        elif not self._read_to_the_end:
            await super().protocol_send(event)

    async def _send_joined(self, data: bytes) -> None:
        """Send, but the head of a response with what follows it: the protocol hands over its
        body or, at the latest, its end, which may be empty."""
        if not self._head and _is_head(data):
            self._head = data
            return
        head, self._head = self._head, b""
        if head and len(data) > JOINED_BYTES_MAX:
            await self._send_bounded(head)
            head = b""
        if head or data:
            await self._send_bounded(head + data)

    async def _send_bounded(self, data: bytes) -> None:
        async with self.send_lock:
            sent = False
            try:
                await self._send_pieces(data)
                sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                pass  # the client is gone, or as good as gone
            finally:
                if not sent:
                    await trio.aclose_forcefully(self.stream)  # half a message: unusable
        if not sent:
            await self.protocol.handle(Closed())

    async def _send_pieces(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            with trio.fail_after(self.send_seconds):
                await self.stream.send_all(view[start : start + PIECE_BYTES])

    async def _start_lingering(self) -> None:
        """Close our direction only: the client may still be sending its body.

        Closing both would reset the connection, and the reset can overtake the answer
        that says why, such as 413.
        """
        if self._lingering is not None:
            return
        self._lingering = trio.CancelScope()
        try:
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            self._lingering.cancel()
        self._lingering.deadline = trio.current_time() + LINGER_SECONDS_MAX
        self._reading.cancel()

    async def _read_data(self) -> None:
        with trio.CancelScope() as self._reading:
            await super()._read_data()
        if self._lingering is not None:
            with self._lingering:
                await self._discard()
        # No request can follow, so nothing is waited for: the idle task would hold the socket
        # of a client that has left for all of its time.
        self._read_to_the_end = True
        self._idle_watch.end()

    async def _idle_timeout(self) -> None:
        await self._idle_watch.wait(self.context.terminated)
        with trio.move_on_after(2 * CLOSE_SECONDS_MAX, shield=True):
            await self._initiate_server_close()

    @property
    def _idle_watch(self) -> "_IdleWatch":
        assert isinstance(self.idle_task, _IdleWatch)
        return self.idle_task

    async def _discard(self) -> None:
        discarded = 0
        while discarded < LINGER_BYTES_MAX:
            try:
                data = await self.stream.receive_some(MAX_RECV)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            discarded += len(data)

    async def _initiate_server_close(self) -> None:
        # Under a shield: a stalled peer must not hold the process.
        with trio.move_on_after(CLOSE_SECONDS_MAX):
            await super()._initiate_server_close()
        await trio.aclose_forcefully(self.stream)


def _is_head(data: bytes) -> bool:
    """Whether this is the head of a final response over HTTP/1.1. What else begins so is sent a
    little later, with the end of its response."""
    return data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1")


class _IdleWatch:
    """Ends a connection that has been idle for too long, or is when the server ends.

    Takes the place of Hypercorn's task for each pause between two requests: one task for the
    whole connection, whose deadline moves. Reads are answered so much faster (measured).
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = False
        self._idle = trio.Event()
        self._deadline = math.inf  # of the pause, if it is one
        self._pause: trio.CancelScope | None = None
        self._whole = trio.CancelScope()

    async def restart(self, task_group: TaskGroup, action: Callable[[], Awaitable[None]]) -> None:
        """A pause begins; after it, if nothing ends it, `action`, which must call `wait`."""
        self._idle.set()
        if not self._started:
            self._started = True
            task_group.spawn(self._run, action)
        self._move(trio.current_time() + self._seconds)

    async def stop(self) -> None:
        """A request came."""
        self._idle = trio.Event()
        self._move(math.inf)

    def end(self) -> None:
        """No request can come any more, and nothing is waited for."""
        self._whole.cancel()

    async def wait(self, terminated: HypercornEvent) -> None:
        """Return when a pause lasted too long, or there is one and the server ends."""
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._pause:
                await terminated.wait()
                await self._idle.wait()
            if self._idle.is_set():
                return

    async def _run(self, action: Callable[[], Awaitable[None]]) -> None:
        with self._whole:
            await action()

    def _move(self, deadline: float) -> None:
        self._deadline = deadline
        if self._pause is not None:
            self._pause.deadline = deadline


async def serve(
    app: QuartTrio,
    bind: Sequence[str],
    *,
    shutdown: trio.Event,
    send_seconds: float = 60.0,
    grace_seconds: float = 10.0,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set; then stop listening, let requests finish for the grace
    period, and cancel the rest. Reports the real addresses (`http://127.0.0.1:40123`).

    Cancelled: every connection is cut. Raises SettingInvalid if an address cannot be used.
    """
    config = _config()
    context = WorkerContext(None)
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(_listen(address)) for address in bind]
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(s)) for s in sockets]
        handler = partial(
            _connection, app, config, context, ConnectionState(LifespanState({})), send_seconds
        )
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, handler, listeners, handler_nursery=connections)
                )
                task_status.started([_address(s) for s in sockets])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()  # idle connections close at once
            connections.cancel_scope.deadline = trio.current_time() + grace_seconds


async def _connection(
    app: QuartTrio,
    config: Config,
    context: WorkerContext,
    state: ConnectionState,
    send_seconds: float,
    stream: trio.SocketStream,
) -> None:
    server = BoundedTCPServer(ASGIWrapper(app), config, context, state, stream)
    server.send_seconds = send_seconds
    await server.run()


def _config() -> Config:
    config = Config()
    config.accesslog = None  # requests are logged by the application, without query values
    config.errorlog = None  # its messages may quote a request
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADER_BYTES_MAX
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = 10**9  # its count also ends HTTP/2 connections, which hang
    config.read_timeout = None  # it would also cut off a handler that takes its time
    return config


def _listen(address: str) -> socket.socket:
    """A listening socket. Raises SettingInvalid, and leaves none open then."""
    try:
        if address.startswith("fd://"):
            listening = socket.socket(fileno=int(address.removeprefix("fd://")))
            listening.listen(BACKLOG)
            return listening
        if address.startswith("unix:"):
            return _listen_at(socket.AF_UNIX, _free_path(address.removeprefix("unix:")))
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        return _listen_at(family, (host.strip("[]"), int(port)))
    except (OSError, OverflowError, ValueError) as error:
        raise SettingInvalid("bind", f"cannot listen on {address}: {error}") from None


def _listen_at(family: int, where: str | tuple[str, int]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family != socket.AF_UNIX:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _free_path(path: str) -> str:
    """A socket's path, on which a server that was killed may have left its own."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    return path


def _address(listening: socket.socket) -> str:
    name = repr_socket_addr(listening.family, listening.getsockname())
    return name if name.startswith("unix:") else f"http://{name}"
