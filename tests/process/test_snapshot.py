"""Exact (promise 1): what is written over HTTP during an export does not show in it."""

from collections.abc import Mapping

import trio

from tests.process.site import SMALL_PARTS, StoreFolder
from tests.support.http_export import ExportClient, Line, export_client, line_of
from tests.support.server import running_server

WRITES = 40  # of each kind


async def test_writes_during_an_export_do_not_show_in_it(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    lines = [line_of(raw) for raw in undisturbed["Procedure"].splitlines()]
    updated, deleted, again = (lines[-(n + 1) * WRITES :][:WRITES] for n in range(3))
    async with (
        running_server(store.folder, {**SMALL_PARTS, "engine.lanes_per_job": 1}) as server,
        export_client(server.base_url) as client,
    ):
        job = await client.begun(parts=1)
        # No part is recorded meanwhile: nearly all is read after what is written here.
        with store.held():
            assert len(store.parts(job)) < store.job(job).parts_total / 2
            async with trio.open_nursery() as writers:
                writers.start_soon(update, client, updated)
                writers.start_soon(delete, client, deleted)
                writers.start_soon(delete_and_create, client, again)
                writers.start_soon(create, client)
        assert (await client.result(job)).by_type() == undisturbed

        shown = {line.name: line for line in (await client.export(types=["Procedure"])).lines()}
    assert len(shown) == len(lines) - WRITES + WRITES
    assert {shown[line.name].version for line in updated} == {line.version + 1 for line in updated}
    assert {shown[line.name].version for line in again} == {line.version + 2 for line in again}
    assert not {line.name for line in deleted} & set(shown)


async def update(client: ExportClient, lines: list[Line]) -> None:
    for line in lines:
        await client.put(changed(line))


async def delete(client: ExportClient, lines: list[Line]) -> None:
    for line in lines:
        await client.delete(line.name)


async def delete_and_create(client: ExportClient, lines: list[Line]) -> None:
    for line in lines:
        await client.delete(line.name)
        await client.put(changed(line))


async def create(client: ExportClient) -> None:
    for _ in range(WRITES):
        await client.create({"resourceType": "Procedure", "status": "completed"})


def changed(line: Line) -> dict[str, str]:
    return {"resourceType": line.type, "id": line.id, "status": "not-done"}
