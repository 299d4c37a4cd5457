"""Upload: request bodies that hold the client back instead of filling memory.

The framework's own body takes all that a client sends, however slowly the handler
reads, checks no limit on chunked bodies that are read in pieces, and has no deadline
between pieces. Here a body holds about HELD_BYTES_MAX, `whole_body` counts and waits
with a deadline, and only a few large bodies are in memory at a time.
"""

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Request
from quart.typing import ResponseTypes
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from engine.errors import TooMany

HELD_BYTES_MAX = 1 << 20  # per request, before its client is held back
SMALL_BYTES_MAX = 1 << 20  # bodies up to this never wait for a place
LARGE_BODIES_MAX = 2  # at a time: two of the largest take 128 MiB, and more while parsed
BUSY_RETRY_SECONDS = 5


class FlowBody(TrioBody):
    """A body that says when it has room for more."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._room = trio.Event()
        self._whole = False  # somebody waits for all of it: holding back would never end
        self._abandoned = False  # nobody reads any more: what comes is thrown away

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._make_room()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        self._whole = True
        self._make_room()
        return super().__await__()

    def append(self, data: bytes) -> None:
        if not self._abandoned:
            super().append(data)

    def abandon(self) -> None:
        """Drop what is held and what will come."""
        self._abandoned = True
        self._data.clear()
        self._make_room()

    async def wait_room(self) -> None:
        """Return when more may be taken from the connection."""
        while self._full():
            await self._room.wait()

    def _full(self) -> bool:
        holding_back = not (self._whole or self._abandoned) and self._must_raise is None
        return holding_back and len(self._data) >= HELD_BYTES_MAX

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()


class FlowRequest(TrioRequest):
    """A request with such a body."""

    body_class = FlowBody


class FlowConnection(TrioASGIHTTPConnection):
    """One request and its response, with flow control on the way in."""

    _answered = False  # the whole response was handed over

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_watched(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.body" and not message["more_body"]:
                self._answered = True
            await send(message)

        await super().__call__(receive, send_watched)

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        body = flow_body(request)
        while (message := await receive())["type"] == "http.request":
            body.append(message.get("body", b""))
            if not message.get("more_body", False):
                body.set_complete()
            await body.wait_room()
        # The server says disconnect at the end of every exchange. Cancelling the handler
        # then would stop it while it makes the connection ready for the next request.
        if not self._answered:
            nursery.cancel_scope.cancel()

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        request = super()._create_request_from_scope(send)
        self._body = flow_body(request)
        return request

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        self._body.abandon()
        await super()._send_response(send, response)


def flow_body(request: Request) -> FlowBody:
    """A request's body, known to be of our kind."""
    assert isinstance(request.body, FlowBody)
    return request.body


class Uploads:
    """Reads bodies, and knows how many large ones are in memory."""

    def __init__(self, *, bytes_max: int, piece_seconds: float) -> None:
        self._bytes_max = bytes_max
        self._piece_seconds = piece_seconds
        self._large = trio.Semaphore(LARGE_BODIES_MAX)

    @asynccontextmanager
    async def whole_body(
        self, request: Request, *, bytes_max: int | None = None
    ) -> AsyncIterator[bytes]:
        """All of a request's body, in memory until the block is left.

        Raises RequestEntityTooLarge, RequestTimeout if no piece comes for the time that
        the settings give, TooMany if no place for a large body gets free in that time.
        """
        limit = self._bytes_max if bytes_max is None else min(bytes_max, self._bytes_max)
        body = bytearray()
        has_place = False
        try:
            while piece := await self._piece(request):
                if len(body) + len(piece) > limit:
                    raise RequestEntityTooLarge(_too_large(limit))
                if len(body) + len(piece) > SMALL_BYTES_MAX and not has_place:
                    await self._take_place()
                    has_place = True
                body += piece
            whole = bytes(body)
            body.clear()  # or it would take its place twice while the block works on it
            yield whole
        finally:
            if has_place:
                self._large.release()

    async def _piece(self, request: Request) -> bytes:
        """The next piece; empty at the end."""
        try:
            with trio.fail_after(self._piece_seconds):
                return await anext(request.body)
        except StopAsyncIteration:
            return b""
        except trio.TooSlowError:
            raise RequestTimeout(
                f"the body stopped coming for {self._piece_seconds:g} seconds"
            ) from None

    async def _take_place(self) -> None:
        with trio.move_on_after(self._piece_seconds):
            await self._large.acquire()
            return
        raise TooMany(
            "too many large bodies are being sent at the same time; try again later",
            retry_after_s=BUSY_RETRY_SECONDS,
        )


def _too_large(limit: int) -> str:
    return f"the body is longer than the limit of {limit} bytes (setting request_bytes_max)"
