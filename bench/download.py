"""(e): download over HTTP: one client, four clients, and fifty slow ones."""

import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench import client
from bench.measure import spread, timed
from bench.process import Server, serving

ROUNDS = 5
SLOW_READERS = 50
SLOW_BYTES = 64 * 1024  # per read, twenty times a second
SLOW_SECONDS = 10.0


def measure(root: Path) -> dict[str, Any]:
    """MB/s of whole files by curl, and the server's memory beside slow readers."""
    with serving(root / "store") as server, httpx.Client() as http:
        manifest = client.wait(http, client.kick_off(http, server.base))
        urls = [entry["url"] for entry in manifest["output"]]
        total = sum(entry["fileSize"] for entry in manifest["output"]) / 1e6
        largest = max(manifest["output"], key=lambda entry: int(entry["fileSize"]))
        _fetch(urls)
        one = [total / _fetch(urls) for _ in range(ROUNDS)]
        four = [total / _fetch_at_once([urls[n::4] for n in range(4)]) for _ in range(ROUNDS)]
        slow = _slow_readers(server, str(largest["url"]))
    return {"one_client_mb_per_s": spread(one), "four_clients_mb_per_s": spread(four), **slow}


def _fetch(urls: list[str]) -> float:
    """All files, one after the other on one connection, thrown away."""
    words = ["curl", "-sSf"]
    for url in urls:
        words += ["-o", "/dev/null", url]
    with timed() as watch:
        subprocess.run(words, check=True)
    return watch.seconds


def _fetch_at_once(lists: list[list[str]]) -> float:
    threads = [threading.Thread(target=_fetch, args=(urls,)) for urls in lists if urls]
    with timed() as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return watch.seconds


def _slow_readers(server: Server, url: str) -> dict[str, Any]:
    """Fifty clients that take about 1.3 MB/s each; how much the server's memory grows."""
    before = server.memory_mib
    parts = urlsplit(url)
    assert parts.hostname is not None
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    clients = []
    for _ in range(SLOW_READERS):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        sock.connect((parts.hostname, parts.port or 80))
        sock.sendall(request)
        clients.append(sock)
    most = before
    ends = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < ends:
        for sock in clients:
            sock.recv(SLOW_BYTES)
        most = max(most, server.memory_mib)
        time.sleep(0.05)
    for sock in clients:
        sock.close()
    return {"slow_readers": SLOW_READERS, "memory_before_mib": before, "memory_most_mib": most}
