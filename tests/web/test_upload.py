"""Request bodies over real sockets: held back, counted, given up (stated in web/upload.py)."""

import msgspec
import pytest
import trio
from quart import request

from engine.errors import TooMany
from tests.web.raw_http import Connection, serving
from tests.web.site import Site
from web.app import PenstockApp, create_app
from web.services import Services
from web.settings import Settings
from web.upload import HELD_BYTES_MAX, LARGE_BODIES_MAX, SMALL_BYTES_MAX, FlowBody, Uploads

PIECE = b"x" * 65536
OFFERED_PIECES = 1024  # 64 MiB
# What the kernel's buffers, the server's queue and the body together may hold.
UNREAD_BYTES_MAX = 24 << 20
SEND_JSON = {"Content_Type": "application/fhir+json", "Transfer_Encoding": "chunked"}


class SlowReader:
    """An application that begins to read a body, and goes on when it is told to."""

    def __init__(self) -> None:
        self.go_on = trio.Event()
        self.began = trio.Event()
        self.body: FlowBody | None = None
        self.app = PenstockApp("slow", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = None
        self.app.add_url_rule("/", "root", self._read, methods=["POST"])

    async def _read(self) -> str:
        assert isinstance(request.body, FlowBody)
        self.body = request.body
        self.began.set()
        await self.go_on.wait()
        total = 0
        async for piece in request.body:
            total += len(piece)
        return str(total)


async def test_a_slow_handler_holds_its_client_back() -> None:
    slow, sent = SlowReader(), 0
    async with serving(slow.app) as server, trio.open_nursery() as nursery:
        connection = Connection(await server.connect())

        async def upload() -> None:
            nonlocal sent
            await connection.begin("POST", "/", Transfer_Encoding="chunked")
            for _ in range(OFFERED_PIECES):
                await connection.data(PIECE)
                sent += len(PIECE)
            await connection.end()

        nursery.start_soon(upload)
        await slow.began.wait()
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert slow.body is not None
        assert len(slow.body._data) < HELD_BYTES_MAX + len(PIECE) + 1
        assert sent < UNREAD_BYTES_MAX
        slow.go_on.set()
        assert (await connection.answer()).body == str(OFFERED_PIECES * len(PIECE)).encode()
        await connection.stream.aclose()


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_told_so_while_it_is_still_sent(
    site: Site, *, declared: bool
) -> None:
    length = {"Content_Length": str(100 * len(PIECE))}
    framing = length if declared else {"Transfer_Encoding": "chunked"}
    async with serving(site.app) as server:
        connection = Connection(await server.connect())

        async def upload() -> None:
            for _ in range(100):
                await connection.data(PIECE)
            await connection.end()

        await connection.begin(
            "PUT", "/fhir/Patient/p1", Content_Type="application/fhir+json", **framing
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            answer = await connection.answer()
        assert answer.status == 413
        assert answer.headers["content-type"].startswith("application/fhir+json")
        (issue,) = msgspec.json.decode(answer.body)["issue"]
        assert issue["code"] == "too-long"
        await connection.stream.aclose()
    assert await site.nothing_was_created()


async def test_an_ordinary_chunked_body_is_stored(site: Site) -> None:
    async with serving(site.app) as server:
        connection = Connection(await server.connect())
        await connection.begin("PUT", "/fhir/Patient/p1", **SEND_JSON)
        for piece in (b'{"resourceType":', b'"Patient",', b'"id":"p1"}'):
            await connection.data(piece)
        await connection.end()
        assert (await connection.answer()).status == 201
        await connection.stream.aclose()


async def test_a_body_that_stops_coming_is_given_up(site: Site) -> None:
    settings = Settings(base_url=site.services.settings.base_url, body_seconds=0.1)
    services = Services(
        ports=site.ports,
        limits=site.services.limits,
        settings=settings,
        tell=site.commands.append,
        ready=lambda: True,
    )
    async with serving(create_app(services)) as server:
        connection = Connection(await server.connect())
        await connection.begin("PUT", "/fhir/Patient/p1", **SEND_JSON)
        await connection.data(b'{"resourceType":')
        answer = await connection.answer()
        assert answer.status == 408
        assert b"stopped coming" in answer.body
        await connection.stream.aclose()
    assert await site.nothing_was_created()


async def test_only_a_few_large_bodies_are_in_memory_at_a_time(autojump_clock: object) -> None:
    app = PenstockApp("large", static_folder=None)
    uploads = Uploads(bytes_max=8 * SMALL_BYTES_MAX, piece_seconds=5)
    large, small = b"x" * (SMALL_BYTES_MAX + 1), b"x" * SMALL_BYTES_MAX
    held, go_on = 0, trio.Event()

    async def read(body: bytes) -> None:
        nonlocal held
        context = app.test_request_context("/", method="POST", data=body)
        async with context, uploads.whole_body(request) as raw:
            assert raw == body
            held += 1
            await go_on.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(LARGE_BODIES_MAX):
            nursery.start_soon(read, large)
        nursery.start_soon(read, small)
        await trio.testing.wait_all_tasks_blocked()
        assert held == LARGE_BODIES_MAX + 1
        with pytest.raises(TooMany):
            await read(large)
        go_on.set()
    await read(large)  # the places are free again
