"""Downloads through the real server: E74 to E78, D14, ranges, codings, and refusals."""

import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest

from engine.model import StoredFile
from engine.tenant import TenantId
from tests.download.site import RETENTION_SECONDS, Site, contents

ACME = TenantId("acme/research")
PLAIN = {"Accept-Encoding": "identity"}
GZIP = {"Accept-Encoding": "gzip"}


async def fetch(site: Site, url: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer and its body as it came over the wire."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.client.stream("GET", url, headers=names) as response:
        return response, b"".join([piece async for piece in response.aiter_raw()])


def assert_refused(response: httpx.Response, body: bytes, status: int) -> None:
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("application/fhir+json")
    assert b'"resourceType":"OperationOutcome"' in body


@pytest.mark.parametrize("number", range(4))
async def test_a_file_arrives_whole_at_the_address_in_the_manifest(site: Site, number: int) -> None:
    """E74, E78"""
    await site.export()
    url, file = list(site.files.items())[number]
    response, body = await fetch(site, url, Accept_Encoding="identity")
    assert response.status_code == 200
    assert body == contents(number)
    assert response.headers["Content-Type"] == "application/fhir+ndjson"
    assert response.headers["Content-Length"] == str(file.bytes)
    assert "Content-Encoding" not in response.headers
    assert hashlib.sha256(body).hexdigest() == file.sha256


async def test_the_last_segments_of_a_jobs_addresses_are_unique(site: Site) -> None:
    """D14: clients store by it."""
    await site.export()
    names = [url.rsplit("/", 1)[1] for url in site.files]
    assert names == [
        "Observation-1.ndjson",
        "Patient-1.ndjson",
        "Patient-2.ndjson",
        "error-OperationOutcome-1.ndjson",
    ]


async def test_gzip_is_sent_to_who_asks_and_only_where_it_is_cheap(site: Site) -> None:
    """E77"""
    url = await site.export() + "/Patient-1.ndjson"
    response, body = await fetch(site, url, Accept_Encoding="gzip")
    coded = response.headers.get("Content-Encoding", "")
    assert coded == site.file(url).coding
    assert (gzip.decompress(body) if coded else body) == contents(1)
    assert response.headers["Content-Length"] == str(site.file(url).stored_bytes)


@pytest.mark.parametrize("coding", [""], ids=["plain"])
async def test_who_refuses_identity_gets_gzip_made_on_the_way(site: Site) -> None:
    url = await site.export() + "/Patient-2.ndjson"
    answers = [
        await fetch(site, url, Accept_Encoding="gzip, identity;q=0", Range="bytes=0-9")
        for _ in range(2)
    ]
    for response, body in answers:
        assert response.status_code == 200
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Accept-Ranges"] == "none"
        assert gzip.decompress(body) == contents(2)
    assert answers[0][1] == answers[1][1], "a strong ETag stands for the same bytes"


async def test_each_representation_has_its_own_strong_tag(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    plain, _ = await fetch(site, url, Accept_Encoding="identity")
    coded, _ = await fetch(site, url, Accept_Encoding="gzip, identity;q=0")
    assert plain.headers["ETag"] == f'"{site.file(url).sha256}"'
    assert coded.headers["ETag"].endswith('-gzip"')
    assert plain.headers["Vary"] == coded.headers["Vary"] == "Accept-Encoding"


async def test_head_says_the_same_as_get(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    for headers in (PLAIN, GZIP, {"Accept-Encoding": "gzip, identity;q=0"}):
        head = await site.client.head(url, headers=headers)
        async with site.client.stream("GET", url, headers=headers) as get:
            pass
        changing = {"date", "x-request-id", "transfer-encoding", "connection"}
        assert head.status_code == get.status_code == 200
        assert {k: v for k, v in head.headers.items() if k not in changing} == {
            k: v for k, v in get.headers.items() if k not in changing
        }


async def test_files_are_not_kept_by_caches_nor_shown_by_browsers(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    response = await site.client.head(url)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] == 'attachment; filename="Patient-1.ndjson"'


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-9", 0, 10), ("100-", 100, None), ("-7", -7, None), ("3-999999999", 3, None)],
)
async def test_a_range_of_the_bytes_at_rest(
    site: Site, asked: str, start: int, stop: int | None
) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    _, whole = await fetch(site, url, Accept_Encoding="gzip")
    response, body = await fetch(site, url, Accept_Encoding="gzip", Range=f"bytes={asked}")
    assert response.status_code == 206
    assert body == whole[start:stop]
    first = len(whole) - 7 if start < 0 else start
    expected = f"bytes {first}-{first + len(body) - 1}/{len(whole)}"
    assert response.headers["Content-Range"] == expected
    assert response.headers["Content-Length"] == str(len(body))


async def test_a_download_that_broke_off_goes_on_where_it_stopped(site: Site) -> None:
    url = await site.export() + "/Patient-2.ndjson"
    async with await site.begin(url, GZIP) as stream:
        received = b""
        while len(received) < 2000:
            received += await stream.receive_some()
    head, _, begun = received.partition(b"\r\n\r\n")
    (tag,) = re.findall(r'etag: (".*")', head.decode())
    response, rest = await fetch(
        site, url, Accept_Encoding="gzip", Range=f"bytes={len(begun)}-", If_Range=tag
    )
    assert response.status_code == 206
    assert hashlib.sha256(begun + rest).hexdigest() == site.file(url).stored_sha256


async def test_if_range_with_the_other_representations_tag_gives_the_whole(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    other, _ = await fetch(
        site,
        url,
        Accept_Encoding="identity" if site.file(url).coding else "gzip, identity;q=0",
    )
    response, body = await fetch(
        site, url, Accept_Encoding="gzip", Range="bytes=5-9", If_Range=other.headers["ETag"]
    )
    assert response.status_code == 200
    assert len(body) == site.file(url).stored_bytes


@pytest.mark.parametrize("coding", ["gzip"])
async def test_a_range_of_what_is_not_at_rest_is_ignored(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    response, body = await fetch(site, url, Accept_Encoding="identity", Range="bytes=5-9")
    assert response.status_code == 200
    assert response.headers["Accept-Ranges"] == "none"
    assert body == contents(1)


async def test_a_range_beyond_the_end_is_refused_with_the_size(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    response, body = await fetch(site, url, Accept_Encoding="gzip", Range="bytes=99999999-")
    assert_refused(response, body, 416)
    assert response.headers["Content-Range"] == f"bytes */{site.file(url).stored_bytes}"


async def test_what_the_client_has_already_is_not_sent_again(site: Site) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    tag = (await site.client.head(url, headers=GZIP)).headers["ETag"]
    response, body = await fetch(site, url, Accept_Encoding="gzip", If_None_Match=f'"x", W/{tag}')
    assert (response.status_code, body) == (304, b"")
    assert response.headers["ETag"] == tag
    response, body = await fetch(site, url, Accept_Encoding="gzip", If_Match='"other"')
    assert_refused(response, body, 412)


@pytest.mark.parametrize("accept", ["text/html", "application/fhir+ndjson;q=0, application/json"])
async def test_who_does_not_take_ndjson_is_refused(site: Site, accept: str) -> None:
    """E78"""
    url = await site.export() + "/Patient-1.ndjson"
    assert_refused(*await fetch(site, url, Accept=accept), 406)


@pytest.mark.parametrize("accept", ["application/fhir+ndjson", "application/ndjson", "*/*", ""])
async def test_who_takes_ndjson_is_served(site: Site, accept: str) -> None:
    url = await site.export() + "/Patient-1.ndjson"
    response, _ = await fetch(site, url, Accept=accept)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "Patient-3.ndjson",
        "Patient-01.ndjson",
        "Patient-1",
        "Patient-1.ndjson.gz",
        "Patient-1-1.ndjson",
        "output-Patient-1.ndjson",
        "error-Patient-1.ndjson",
        "OperationOutcome-1.ndjson",
        "..%2F..%2Fcontrol.db",
        "%2e%2e",
        "Patient-1.ndjson%00",
    ],
)
async def test_what_the_manifest_does_not_name_is_not_there(site: Site, name: str) -> None:
    folder = await site.export()
    assert_refused(*await fetch(site, f"{folder}/{name}"), 404)


async def test_a_file_of_another_job_or_tenant_is_not_there(site: Site) -> None:
    ours = await site.export()
    theirs = await site.export(ACME)
    response, body = await fetch(site, f"{theirs}/Patient-1.ndjson", **{"Accept-Encoding": ""})
    assert (response.status_code, body) == (200, contents(1))
    ours_id, theirs_id = ours.rsplit("/", 1)[1], theirs.rsplit("/", 1)[1]
    answers = [
        await fetch(site, url)
        for url in (
            f"{site.base}/$export-file/{theirs_id}/Patient-1.ndjson",
            f"{site.base}/{ACME}/$export-file/{ours_id}/Patient-1.ndjson",
            f"{site.base}/acme/$export-file/{theirs_id}/Patient-1.ndjson",
            f"{site.base}/$export-file/{'0' * 32}/Patient-1.ndjson",
            f"{site.base}/$export-file/not-a-job!/Patient-1.ndjson",
        )
    ]
    for response, body in answers:
        assert_refused(response, body, 404)
    assert len({body for _, body in answers}) == 1, "each looks the same"


async def test_an_export_that_is_not_finished_has_no_files(site: Site) -> None:
    folder = await site.export(finish=False)
    assert_refused(*await fetch(site, f"{folder}/Patient-1.ndjson"), 404)


async def test_an_export_that_expired_or_was_deleted_has_no_files(site: Site) -> None:
    deleted, expired = await site.export(), await site.export()
    await site.backend.export_jobs.delete(TenantId("default"), deleted.rsplit("/", 1)[1])
    assert_refused(*await fetch(site, f"{deleted}/Patient-1.ndjson"), 404)
    assert (await site.client.head(f"{expired}/Patient-1.ndjson")).status_code == 200
    site.clock.step_wall(int(RETENTION_SECONDS * 1000) + 1)
    assert_refused(*await fetch(site, f"{expired}/Patient-1.ndjson"), 404)


async def test_a_file_that_is_gone_or_damaged_is_an_error_and_no_cut_body(site: Site) -> None:
    folder = await site.export()
    gone, short = f"{folder}/Patient-1.ndjson", f"{folder}/Patient-2.ndjson"
    location(site, site.file(gone)).unlink()
    location(site, site.file(short)).write_bytes(b"{}\n")
    assert_refused(*await fetch(site, gone), 404)
    assert_refused(*await fetch(site, short), 503)
    assert (await site.client.head(gone)).status_code == 404


@pytest.mark.parametrize("coding", ["gzip"])
async def test_damaged_compressed_bytes_end_the_body_early_and_visibly(site: Site) -> None:
    url = await site.export() + "/Patient-2.ndjson"
    path = location(site, site.file(url))
    with path.open("r+b") as file:
        file.seek(site.file(url).stored_bytes // 2)
        file.write(b"\0" * 64)
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(site, url, Accept_Encoding="identity")


async def test_a_download_goes_on_while_its_files_are_deleted(site: Site) -> None:
    """E7"""
    url = await site.export() + "/Patient-2.ndjson"
    async with site.client.stream("GET", url, headers=GZIP) as response:
        for tenant, job in await site.outputs.jobs():
            await site.outputs.delete_job(tenant, job)
        body = b"".join([piece async for piece in response.aiter_raw()])
    assert hashlib.sha256(body).hexdigest() == site.file(url).stored_sha256


@pytest.mark.parametrize("headers", [PLAIN, GZIP], ids=["identity", "gzip"])
async def test_a_client_that_leaves_early_leaves_nothing_open(
    site: Site, headers: dict[str, str]
) -> None:
    folder = await site.export()
    for read_first in (False, True):
        async with await site.begin(f"{folder}/Patient-2.ndjson", headers) as stream:
            if read_first:
                await stream.receive_some(100)
    await site.stop()
    assert site.outputs.statistics().open_readers == 0


def location(site: Site, file: StoredFile) -> Path:
    return site.root / file.location
