"""A load generator: kept connections that each send the next request when the answer is there.

Plain HTTP/1.1 over sockets, a thread a connection, so that it takes little of the machine that it
shares with the server under measurement: about 40 microseconds of processor time a request.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.measure import percentile

READ_BYTES = 1 << 18
ANSWER_SECONDS_MAX = 120.0


@dataclass
class Load:
    """What came of one run."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  # seconds
    bytes: int = 0

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def summary(self) -> dict[str, float]:
        """Requests a second, and latencies in milliseconds."""
        return {
            "per_s": self.per_second,
            "requests": len(self.latencies),
            "p50_ms": 1000 * percentile(self.latencies, 0.50),
            "p99_ms": 1000 * percentile(self.latencies, 0.99),
        }


class Refused(Exception):
    """The server answered with a status that was not expected."""


class Connection:
    """One kept connection."""

    def __init__(self, base: str) -> None:
        address = urlsplit(base)
        assert address.hostname is not None
        self._socket = socket.create_connection(
            (address.hostname, address.port or 80), timeout=ANSWER_SECONDS_MAX
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, message: bytes) -> bytes:
        """Send a request and read all of its answer; the body. Raises Refused."""
        self._socket.sendall(message)
        head, body = self._head()
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise Refused((head + b"\r\n\r\n" + body)[:2000].decode(errors="replace"))
        size = _length(head)
        pieces, there = [body], len(body)
        while there < size:
            pieces.append(self._read())
            there += len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        self._socket.close()

    def _head(self) -> tuple[bytes, bytes]:
        found = b""
        while True:
            found += self._read()
            head, end, body = found.partition(b"\r\n\r\n")
            if end:
                return head, body

    def _read(self) -> bytes:
        piece = self._socket.recv(READ_BYTES)
        if not piece:
            raise Refused("the server closed the connection")
        return piece


def _length(head: bytes) -> int:
    """Content-Length: every answer under measurement has one."""
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    if not rest:
        raise Refused("an answer without Content-Length")
    return int(rest.partition(b"\r\n")[0])


def message(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request, ready to be sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", "Accept: application/fhir+json"]
    if body:
        lines += ["Content-Type: application/fhir+json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(
    base: str, messages: Iterator[bytes], *, connections: int, seconds: float, warming: float = 1.0
) -> Load:
    """Keep so many connections busy for so long. `messages` is drawn from by one thread at a
    time, and may end early. What was sent in the warming time does not count."""
    load, lock = Load(), threading.Lock()
    began = time.perf_counter() + warming
    failures: list[Exception] = []

    def draw() -> bytes | None:
        with lock:
            return next(messages, None)

    def work() -> None:
        connection = Connection(base)
        try:
            _keep_asking(connection, draw, load, lock, began, began + seconds)
        except (Refused, OSError) as error:  # told by the caller's thread
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"the load generator: {failures[0]}")
    load.seconds = min(seconds, time.perf_counter() - began)
    return load


def _keep_asking(
    connection: Connection,
    draw: Callable[[], bytes | None],
    load: Load,
    lock: threading.Lock,
    began: float,
    end: float,
) -> None:
    while (asked := time.perf_counter()) < end:
        request = draw()
        if request is None:
            return
        body = connection.ask(request)
        answered = time.perf_counter()
        if asked >= began and answered <= end:
            with lock:
                load.latencies.append(answered - asked)
                load.bytes += len(body)
