"""Resumed, not restarted (promise 4): a server killed in the middle of an export."""

from collections.abc import Mapping

from tests.process.site import SMALL_PARTS, TYPES, StoreFolder, until
from tests.support.http_export import export_client, line_of
from tests.support.server import running_server

KILLS = 5
PARTS_BETWEEN_KILLS = 6


async def test_killed_export_goes_on_with_the_missing_parts_at_its_own_snapshot(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    async with (
        running_server(store.folder, SMALL_PARTS) as server,
        export_client(server.base_url) as client,
    ):
        job = await client.begun(parts=20)
        await server.kill()
    row, recorded, files = store.job(job), store.parts(job), store.files(job)
    assert (row.status, row.token) == ("in-progress", 1)
    assert 20 <= len(recorded) < row.parts_total and row.parts_total > 100

    async with (
        running_server(store.folder, SMALL_PARTS) as heir,
        export_client(heir.base_url) as client,
    ):
        seconds = await until(lambda: store.job(job).token == 2)
        print(f"claimed again {seconds:.3f} s after the server was ready")
        await client.put({"resourceType": "Procedure", "id": "written-after-the-kill"})
        await client.delete(first_name(undisturbed["Procedure"]))
        export = await client.result(job)
        await until(lambda: not store.strays(job))  # the half-written file of the dead

    assert export.by_type() == undisturbed
    parts, after = store.parts(job), store.files(job)
    assert len(parts) == row.parts_total
    # What was recorded before the kill is the same row and the same file, never written again.
    assert {number: parts[number] for number in recorded} == recorded
    for part in recorded.values():
        assert after[part.location] == files[part.location]
    assert {part.token for number, part in parts.items() if number not in recorded} == {2}


async def test_export_ends_however_often_its_server_is_killed(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    settings = {**SMALL_PARTS, "engine.attempts_max": KILLS + 1}
    job, done, kept = "", 0, {}
    for kill in range(1, KILLS + 1):
        async with (
            running_server(store.folder, settings) as server,
            export_client(server.base_url) as client,
        ):
            job = job or await client.kick_off()
            assert await client.until_parts(job, done + PARTS_BETWEEN_KILLS)
            await server.kill()
        files, parts = store.files(job), store.parts(job)
        done = len(parts)
        assert store.job(job).token == kill
        for location, facts in kept.items():
            assert files[location] == facts
        kept = {part.location: files[part.location] for part in parts.values()}

    async with (
        running_server(store.folder, settings) as heir,
        export_client(heir.base_url) as client,
    ):
        export = await client.result(job)
        await until(lambda: not store.strays(job) and not store.pins())
    assert export.by_type() == undisturbed
    assert store.job(job).attempt == KILLS + 1
    tokens = [part.token for part in store.parts(job).values()]
    assert all(tokens.count(token) >= PARTS_BETWEEN_KILLS for token in range(1, KILLS + 1))


async def test_export_that_was_accepted_and_never_claimed_is_made_after_a_restart(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    settings = {**SMALL_PARTS, "engine.jobs_at_once": 1}
    async with (
        running_server(store.folder, settings) as server,
        export_client(server.base_url) as client,
    ):
        first = await client.begun(parts=1)
        second = await client.kick_off(types=TYPES[:2])
        await server.kill()
    assert store.job(second).status == "accepted"

    async with (
        running_server(store.folder, {**settings, "engine.jobs_at_once": 2}) as heir,
        export_client(heir.base_url) as client,
    ):
        assert (await client.result(first)).by_type() == undisturbed
        accepted = await client.result(second)
    assert accepted.by_type() == {type: undisturbed[type] for type in TYPES[:2]}
    assert (store.job(second).token, store.job(second).attempt) == (1, 1)


def first_name(lines: bytes) -> str:
    """The resource of the first line, as its address."""
    return line_of(lines.splitlines()[0]).name
