"""A client of exports over HTTP, as an outsider has it: kicks off, polls, reads the manifest,
downloads, and checks every file against what the manifest says of it.

A job goes by its id, so that a client finds it again on a server at another address.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio

WAIT_SECONDS_MAX = 60.0  # what takes longer hangs
POLL_SECONDS = 0.01
TRIES_MAX = 10
KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
FHIR_JSON = {"Content-Type": "application/fhir+json"}
_PARTS = re.compile(r"(\d+) of (\d+) files")


@dataclass(frozen=True)
class Line:
    """One exported resource."""

    type: str
    id: str
    version: int
    updated: str
    bytes: bytes

    @property
    def name(self) -> str:
        return f"{self.type}/{self.id}"


@dataclass(frozen=True)
class Export:
    """A finished export, downloaded and verified."""

    job: str
    transaction_time: str
    files: Mapping[str, bytes]  # by name, in the manifest's order

    def by_type(self) -> dict[str, bytes]:
        """The bytes of each type, its files joined in their order."""
        joined: dict[str, bytes] = {}
        for name, data in self.files.items():
            type = name.split("-")[0]
            joined[type] = joined.get(type, b"") + data
        return joined

    def lines(self) -> list[Line]:
        return [line_of(raw) for data in self.files.values() for raw in data.splitlines()]


class ExportClient:
    """One client of one server, and of one tenant."""

    def __init__(self, base_url: str, http: httpx.AsyncClient) -> None:
        self.base_url = base_url
        self.http = http

    def status_url(self, job: str) -> str:
        return f"{self.base_url}/$export-status/{job}"

    async def kick_off(self, *, types: Sequence[str] = (), **parameters: str) -> str:
        """Start an export, and return its job's id. `since="..."` is `_since`."""
        query = {f"_{name}": value for name, value in parameters.items()}
        if types:
            query["_type"] = ",".join(types)
        answer = await self.http.get(f"{self.base_url}/$export", params=query, headers=KICK_OFF)
        assert answer.status_code == 202, answer.text
        return answer.headers["Content-Location"].rsplit("/", 1)[1]

    async def status(self, job: str) -> httpx.Response:
        return await self.http.get(self.status_url(job))

    async def until(self, job: str, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
        """Poll until the status is as wanted. Being too fast is no answer."""
        with trio.fail_after(WAIT_SECONDS_MAX):
            while True:
                answer = await self.status(job)
                if answer.status_code != 429 and wanted(answer):
                    return answer
                await pause()

    async def until_parts(self, job: str, wanted: int) -> bool:
        """Poll until so many files are there, or more. False if the export has ended."""
        answer = await self.until(job, lambda answer: parts_done(answer) >= wanted)
        return answer.status_code == 202

    async def begun(self, *, parts: int) -> str:
        """An export of which so many files are there and which goes on. One that was too
        fast for us is deleted, and another one begun."""
        for _ in range(TRIES_MAX):
            job = await self.kick_off()
            if await self.until_parts(job, parts):
                return job
            await self.delete_job(job)
        raise AssertionError(f"no export could be met at {parts} files: all ended before")

    async def manifest(self, job: str) -> dict[str, Any]:
        """Poll until the export is complete."""
        answer = await self.until(job, lambda answer: answer.status_code != 202)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def result(self, job: str) -> Export:
        """Wait for the export's end, and download all of it."""
        manifest = await self.manifest(job)
        assert manifest["error"] == manifest["deleted"] == []
        files = {}
        for item in manifest["output"]:
            name = item["url"].rsplit("/", 1)[1]
            assert name not in files
            files[name] = await self._download(job, name, item)
        return Export(job, manifest["transactionTime"], files)

    async def export(self, *, types: Sequence[str] = (), **parameters: str) -> Export:
        """A whole export, from kick-off to the last byte."""
        return await self.result(await self.kick_off(types=types, **parameters))

    async def delete_job(self, job: str) -> None:
        answer = await self.http.delete(self.status_url(job))
        assert answer.status_code == 202, answer.text

    async def put(self, resource: Mapping[str, Any]) -> httpx.Response:
        address = f"{self.base_url}/{resource['resourceType']}/{resource['id']}"
        answer = await self.http.put(address, content=json.dumps(resource), headers=FHIR_JSON)
        assert answer.status_code in (200, 201), answer.text
        return answer

    async def create(self, resource: Mapping[str, Any]) -> httpx.Response:
        address = f"{self.base_url}/{resource['resourceType']}"
        answer = await self.http.post(address, content=json.dumps(resource), headers=FHIR_JSON)
        assert answer.status_code == 201, answer.text
        return answer

    async def delete(self, name: str) -> None:
        answer = await self.http.delete(f"{self.base_url}/{name}")
        assert answer.status_code == 204, answer.text

    async def read(self, name: str) -> httpx.Response:
        return await self.http.get(f"{self.base_url}/{name}")

    async def _download(self, job: str, name: str, item: Mapping[str, Any]) -> bytes:
        # The manifest's own URL names the server that was asked for it: the same path here.
        path = item["url"].rsplit("/$export-file/", 1)[1]
        assert path == f"{job}/{name}"
        answer = await self.http.get(
            f"{self.base_url}/$export-file/{path}", headers={"Accept-Encoding": "identity"}
        )
        assert answer.status_code == 200, answer.text
        data = answer.content
        assert len(data) == item["fileSize"]
        assert data.count(b"\n") == item["count"]
        assert hashlib.sha256(data).hexdigest() == item["sha256"]
        return data


@asynccontextmanager
async def export_client(base_url: str) -> AsyncIterator[ExportClient]:
    """A client with connections of its own."""
    async with httpx.AsyncClient(timeout=WAIT_SECONDS_MAX) as http:
        yield ExportClient(base_url, http)


async def pause() -> None:
    """Between two looks at what tells nobody when it changes."""
    with trio.move_on_after(POLL_SECONDS):
        await trio.sleep_forever()


def parts_done(status: httpx.Response) -> int:
    """How many files a status says are done. All of them if it is no longer open."""
    if status.status_code != 202:
        return 1 << 30
    match = _PARTS.search(status.headers["X-Progress"])
    return int(match[1]) if match else 0


def line_of(raw: bytes) -> Line:
    resource = json.loads(raw)
    meta = resource["meta"]
    return Line(
        type=resource["resourceType"],
        id=resource["id"],
        version=int(meta["versionId"]),
        updated=meta["lastUpdated"],
        bytes=raw,
    )
