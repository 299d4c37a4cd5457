"""The server over real sockets: clients that stall, shutdown, faults (stated in web/server.py)."""

import inspect
from importlib.metadata import version

import h2.config
import h2.connection
import h11
import pytest
import structlog
import trio
from hypercorn.trio.tcp_server import TCPServer
from quart import Response, request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioBody

from engine.errors import SettingInvalid
from tests.web.raw_http import WAIT_SECONDS_MAX, Connection, serving
from web.app import PenstockApp
from web.server import BoundedTCPServer, serve
from web.upload import FlowBody, FlowConnection

BLOCK = b"x" * 65536


class Streams:
    """An application with a stream that goes on for as long as its client reads."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.began = trio.Event()
        self.seconds = 3600.0
        self.app = PenstockApp("streams", static_folder=None)
        self.app.config["RESPONSE_TIMEOUT"] = None
        self.app.add_url_rule("/stream", "stream", self._stream)
        self.app.add_url_rule("/wait", "wait", self._wait)
        self.app.add_url_rule("/", "root", self._root, methods=["GET", "POST"])

    async def _root(self) -> str:
        return request.path

    async def _wait(self) -> str:
        self.began.set()
        try:
            await trio.sleep_forever()
        finally:
            self.ended.set()

    async def _stream(self) -> Response:
        return Response(self._blocks(), 200)

    async def _blocks(self):
        stop = trio.current_time() + self.seconds
        self.began.set()
        try:
            while trio.current_time() < stop:
                yield BLOCK
        finally:
            self.ended.set()


async def stalled(server) -> Connection:
    """A client that asked for a stream and reads none of it."""
    connection = Connection(await server.connect())
    await connection.begin("GET", "/stream")
    await connection.end()
    return connection


async def test_a_client_that_stopped_reading_does_not_keep_the_process_from_ending() -> None:
    streams = Streams()
    async with serving(streams.app, send_seconds=3600) as server:
        connection = await stalled(server)
        await streams.began.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        started = trio.current_time()
        await server.stop()
        assert trio.current_time() - started < 3
        assert streams.ended.is_set()
        await connection.stream.aclose()


async def test_a_client_that_stopped_reading_is_cut_off_after_its_time() -> None:
    streams = Streams()
    async with serving(streams.app, send_seconds=0.2) as server:
        connection = await stalled(server)
        await streams.ended.wait()
        with pytest.raises(h11.RemoteProtocolError):
            await connection.answer()
        await connection.stream.aclose()


async def test_a_download_may_last_longer_than_any_single_write_may() -> None:
    streams = Streams()
    streams.seconds = 0.6
    async with serving(streams.app, send_seconds=0.2) as server:
        connection = Connection(await server.connect())
        answer = await connection.get("/stream")
        assert answer.status == 200
        assert len(answer.body) % len(BLOCK) == 0
        await connection.stream.aclose()


async def test_a_client_that_leaves_ends_its_handler() -> None:
    streams = Streams()
    async with serving(streams.app) as server:
        connection = Connection(await server.connect())
        await connection.begin("GET", "/wait")
        await connection.end()
        await streams.began.wait()
        await connection.stream.aclose()
        with trio.fail_after(WAIT_SECONDS_MAX):
            await streams.ended.wait()


async def test_shutdown_lets_a_request_finish_and_takes_no_new_connection() -> None:
    streams = Streams()
    streams.seconds = 0.5
    async with serving(streams.app, grace_seconds=WAIT_SECONDS_MAX) as server:
        connection = Connection(await server.connect())
        await connection.begin("GET", "/stream")
        await connection.end()
        await streams.began.wait()
        server.shutdown.set()
        answer = await connection.answer()
        assert answer.status == 200
        await server.stop()
        with pytest.raises(OSError, match="connect"):
            await server.connect()
        await connection.stream.aclose()


async def test_shutdown_does_not_wait_for_connections_that_are_idle() -> None:
    async with serving(Streams().app, grace_seconds=3600) as server:
        connection = Connection(await server.connect())
        for _ in range(3):
            assert (await connection.get("/")).body == b"/"
        silent = await server.connect()
        await server.stop()
        await silent.aclose()
        await connection.stream.aclose()


async def test_many_requests_go_over_one_connection() -> None:
    async with serving(Streams().app) as server:
        connection = Connection(await server.connect())
        for _ in range(1100):  # the framework's own limit is 1,000
            assert (await connection.get("/")).status == 200
        await connection.stream.aclose()


async def test_a_small_answer_comes_in_one_piece() -> None:
    async with serving(Streams().app) as server:
        stream = await server.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        piece = await stream.receive_some(65536)
        assert piece.startswith(b"HTTP/1.1 200 ")
        assert piece.endswith(b"\r\n\r\n/")
        await stream.aclose()


async def test_an_idle_connection_is_closed_after_its_time_and_a_busy_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.server.KEEP_ALIVE_SECONDS", 0.2)
    streams = Streams()
    async with serving(streams.app) as server:
        busy = await server.connect()
        await busy.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await streams.began.wait()
        idle = Connection(await server.connect())
        for _ in range(2):
            assert (await idle.get("/")).status == 200
        assert await idle.stream.receive_some(1) == b""  # only the server ends it
        assert not streams.ended.is_set()
        await idle.stream.aclose()
        await busy.aclose()


@pytest.mark.parametrize(
    "data", [b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
             b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_what_is_not_http_ends_its_own_connection_only(data: bytes) -> None:
    async with serving(Streams().app) as server:
        stream = await server.connect()
        await stream.send_all(data)
        answer = b""
        while received := await stream.receive_some(65536):
            answer += received
        assert b" 500" not in answer
        await stream.aclose()
        good = Connection(await server.connect())
        assert (await good.get("/")).status == 200
        await good.stream.aclose()


async def test_a_fault_in_the_protocol_code_ends_its_own_connection_only() -> None:
    config = h2.config.H2Configuration(
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    head = ((b":method", b"GET"), (b":path", b"/\xff"), (b":scheme", b"http"),
            (b":authority", b"x"))  # fmt: skip
    client.send_headers(1, head, end_stream=True)
    with structlog.testing.capture_logs() as events:
        async with serving(Streams().app) as server:
            stream = await server.connect()
            await stream.send_all(client.data_to_send())
            while await stream.receive_some(65536):
                pass
            await stream.aclose()
            good = Connection(await server.connect())
            assert (await good.get("/")).status == 200
            await good.stream.aclose()
    assert [event["event"] for event in events] == ["connection failed"]


async def test_several_addresses_are_served_and_reported(tmp_path) -> None:
    bind = ("127.0.0.1:0", f"unix:{tmp_path}/socket", "127.0.0.1:0")
    async with serving(Streams().app, bind=bind) as server:
        first, unix, second = server.addresses
        assert unix == f"unix:{tmp_path}/socket"
        assert first != second
        assert not first.endswith(":0")
        connection = Connection(await trio.open_unix_socket(unix.removeprefix("unix:")))
        assert (await connection.get("/")).status == 200
        await connection.stream.aclose()


async def test_an_address_in_use_is_a_setting_that_cannot_be_used() -> None:
    async with serving(Streams().app) as server:
        taken = server.addresses[0].removeprefix("http://")
        with pytest.raises(SettingInvalid, match="cannot listen on"):
            await serve(Streams().app, ["127.0.0.1:0", taken], shutdown=trio.Event())


def _own_methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if inspect.isfunction(value)}


@pytest.mark.parametrize(
    ("ours", "theirs", "replaced"),
    [
        (BoundedTCPServer, (TCPServer,),
         {"run", "protocol_send", "_read_data", "_idle_timeout",
          "_initiate_server_close"}),
        (FlowConnection, (TrioASGIHTTPConnection, ASGIHTTPConnection),
         {"__call__", "handle_messages", "_create_request_from_scope", "_send_response"}),
        (FlowBody, (TrioBody, Body), {"__init__", "__anext__", "__await__", "append"}),
    ],
)  # fmt: skip
def test_what_we_replace_is_still_there_to_be_replaced(
    ours: type, theirs: tuple[type, ...], replaced: set[str]
) -> None:
    """Fails when a library renames or reshapes what our subclasses reach into."""
    assert version("hypercorn").startswith("0.18.")
    assert replaced <= _own_methods(ours)
    for name in replaced:
        original = next(vars(kind)[name] for kind in theirs if name in vars(kind))
        expected = list(inspect.signature(original).parameters)
        assert list(inspect.signature(vars(ours)[name]).parameters) == expected
