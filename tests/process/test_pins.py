"""A crash between the cut and the job's row leaves a pin and no job."""

from collections.abc import Mapping

import backends
from engine.model import JobId, WorkerId
from engine.tenant import DEFAULT_TENANT
from tests.process.site import SMALL_PARTS, StoreFolder, until
from tests.support.http_export import export_client
from tests.support.server import running_server

ORPHAN = JobId("0" * 32)


async def test_pin_without_a_job_is_removed_after_its_time_and_harms_nobody(
    store: StoreFolder, undisturbed: Mapping[str, bytes]
) -> None:
    async with backends.open(f"sqlite:{store.folder}", worker=WorkerId("crashed")) as backend:
        tenant = await backend.tenants.store(DEFAULT_TENANT)
        await tenant.open_snapshot(ORPHAN)
    assert store.pins() == [ORPHAN]

    async with (
        running_server(store.folder, {**SMALL_PARTS, "engine.pin_orphan_seconds": 3600}) as server,
        export_client(server.base_url) as client,
    ):
        assert (await client.status(ORPHAN)).status_code == 404
        assert (await client.export()).by_type() == undisturbed
        await until(lambda: store.pins() == [ORPHAN])  # that of the export goes, this stays
    assert store.leases() == 0

    async with (
        running_server(store.folder, {**SMALL_PARTS, "engine.pin_orphan_seconds": 0.5}) as server,
        export_client(server.base_url) as client,
    ):
        await until(lambda: store.pins() == [])
        assert (await client.export()).by_type() == undisturbed
        assert (await client.status(ORPHAN)).status_code == 404
        assert (await client.http.get(f"{server.root_url}/readyz")).status_code == 200
