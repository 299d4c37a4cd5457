"""Bad input over real HTTP: the right status, an outcome that says what to do, nothing created."""

from urllib.parse import urlsplit

import msgspec
import pytest

from tests.requirements.exchange import KICK_OFF, Exchange, job_of, path_of
from tests.support.builders import numbered
from tests.web.raw_http import Answer, Connection

JSON_BODY = {**KICK_OFF, "Content-Type": "application/json"}
TWICE = "_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z"


def hint_of(answer: Answer) -> str:
    """What the only issue of an OperationOutcome says."""
    assert answer.headers["content-type"].startswith("application/fhir+json")
    outcome = msgspec.json.decode(answer.body)
    assert outcome["resourceType"] == "OperationOutcome"
    (issue,) = outcome["issue"]
    assert issue["severity"] in ("error", "fatal")
    return str(issue["diagnostics"])


async def ask(site: Exchange, target: str, method: str = "GET", body: bytes = b"", **headers: str):
    """One request exactly as it is written here: no client tidies its path."""
    connection = Connection(await site.server.connect())
    try:
        length = {"Content-Length": str(len(body))} if body else {}
        await connection.begin(method, target, **headers, **length)
        if body:
            await connection.data(body)
        await connection.end()
        return await connection.answer()
    finally:
        await connection.stream.aclose()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("_foo=1", "handling=lenient"),
        ("_type=Pazient", "handling=lenient"),
        ("_type=", "handling=lenient"),
        ("_since=yesterday", "2026-01-31T08:30:00Z"),
        ("_since=2026-02-30T00:00:00Z", "_since"),
        ("_since=2999-01-01T00:00:00Z", "send the transactionTime"),
        ("_since=%FF%FE", "_since"),
        (TWICE, "send one"),
        ("_outputFormat=application/fhir%2Bxml", "send application/fhir+ndjson"),
        ("_outputFormat=ndjson&_outputFormat=ndjson", "send one"),
    ],
)
async def test_a_parameter_that_cannot_be_done_says_what_to_do_E25_E26_E31_D18(
    site: Exchange, query: str, says: str
) -> None:
    for method in ("GET", "POST"):
        answer = await ask(site, f"/fhir/$export?{query}", method, **KICK_OFF)
        assert answer.status == 400
        assert says in hint_of(answer)
    assert await site.nothing_was_created()


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({"Accept": "application/fhir+json"}, 400, "send 'Prefer: respond-async'"),
        ({**KICK_OFF, "Prefer": "handling=lenient"}, 400, "send 'Prefer: respond-async'"),
        ({**KICK_OFF, "Accept": "application/json"}, 406, "send 'Accept: application/fhir+json'"),
        ({**KICK_OFF, "Accept": "application/fhir+xml"}, 406, "send 'Accept"),
    ],
)
async def test_headers_that_ask_for_something_else_say_what_to_send_D3_D4(
    site: Exchange, headers: dict[str, str], status: int, says: str
) -> None:
    answer = await ask(site, "/fhir/$export", **headers)
    assert answer.status == status
    assert says in hint_of(answer)
    assert await site.nothing_was_created()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"resourceType":"Patient"}', JSON_BODY, 400),
        (b'{"resourceType":"Parameters","parameter":', JSON_BODY, 400),
        (b'{"resourceType":"Parameters","parameter":[{"name":1}]}', JSON_BODY, 400),
        (b'{"resourceType":"Parameters","parameter":[{"name":"\xff"}]}', JSON_BODY, 400),
        (b"[" * 3000, JSON_BODY, 400),
        (b"<Parameters/>", {**KICK_OFF, "Content-Type": "application/fhir+xml"}, 415),
        (b"_type=Patient", {**KICK_OFF, "Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b" " * 4001, JSON_BODY, 413),
    ],
)
async def test_a_body_that_is_not_parameters_or_too_long_starts_nothing_D13(
    site: Exchange, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await ask(site, "/fhir/$export", "POST", body, **headers)
    assert answer.status == status
    assert hint_of(answer)
    assert await site.nothing_was_created()


@pytest.mark.parametrize(
    "target",
    [
        "/fhir/$export-status/not-a-job",
        "/fhir/$export-status/..",
        "/fhir/$export-status/../../etc/passwd",
        "/fhir/$export-status/%2e%2e%2fmetadata",
        "/fhir/../fhir/metadata",
        "/fhir//metadata",
        "/fhir/$export-file/../../../control.db",
        "/fhir/$export-file/%2e%2e/%2e%2e%2fcontrol.db",
        "/fhir/$export-file/x/Patient-1.ndjson%00",
        "/../../../../etc/passwd",
    ],
)
async def test_a_path_with_dots_or_a_job_that_is_none_is_not_found(
    site: Exchange, target: str
) -> None:
    nowhere = await ask(site, "/nowhere")
    answer = await ask(site, target)
    assert answer.status == 404
    assert hint_of(answer) == hint_of(nowhere)


async def test_a_file_of_another_job_or_tenant_is_not_found(site: Exchange) -> None:
    await site.fill(numbered("Patient", 2))
    site.work()
    (item,) = (await site.export())["output"]
    empty = await site.ended(await site.kick_off("?_type=Basic"))
    path = path_of(item["url"])
    mine, other = job_of(path.rpartition("/")[0]), job_of(urlsplit(str(empty.url)).path)
    assert (await ask(site, path)).status == 200
    for target in (
        path.replace(mine, other),
        path.replace("/fhir/", "/fhir/acme/"),
        path.replace("-1.", "-2."),
        path.replace("Patient-", "patient-"),
        f"/fhir/acme/$export-status/{mine}",
    ):
        assert (await ask(site, target)).status == 404, target


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"resourceType":"Patient"', 400),
        (b'{"id":"p1"}', 400),
        (b'{"resourceType":"Patient","id":"p 1"}', 400),
        (b'{"resourceType":"Patient","id":"p2"}', 400),
        (b'{"resourceType":"Patient","id":"p1","n":NaN}', 400),
        (b'{"resourceType":"Patient","id":"p1","id":"p1"}', 400),
        (b'{"resourceType":"Patient","id":"p1","s":"\xff"}', 400),
        (b'{"resourceType":"Patient","id":"p1","s":"\\udc00"}', 400),
        (b'{"resourceType":"Patient","id":"p1","s":' + b"[" * 900 + b"]" * 900 + b"}", 400),
        (b'{"resourceType":"Patient","id":"p1","s":"' + b"x" * 2000 + b'"}', 413),
        (b'{"resourceType":"Patient","id":"p1","s":"' + b"x" * 5000 + b'"}', 413),
    ],
)
async def test_a_resource_that_cannot_be_kept_is_refused_and_not_quoted(
    site: Exchange, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/fhir+json"}
    answer = await ask(site, "/fhir/Patient/p1", "PUT", body, **headers)
    assert answer.status == status
    assert "xxx" not in hint_of(answer)
    assert await site.nothing_was_created()


async def test_a_method_that_nobody_knows_is_refused_and_counted_as_other(site: Exchange) -> None:
    for method in ("BREW", "TRACE"):
        answer = await ask(site, "/fhir/metadata", method)
        assert answer.status == 405
        assert "GET" in hint_of(answer)
    text = (await ask(site, "/metrics")).body.decode()
    assert 'method="other"' in text
    assert "BREW" not in text
