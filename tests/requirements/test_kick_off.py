"""Kick-off, from a client's side (bulk-data.md E10 to E46, D1, D13)."""

import msgspec
import pytest

from engine.instant import format_instant
from engine.tenant import DEFAULT_TENANT as TENANT
from tests.requirements.exchange import BASE, KICK_OFF, Exchange, job_of
from tests.support.builders import numbered, prepared

BODY = {**KICK_OFF, "Content-Type": "application/fhir+json"}


def parameters(*entries: dict[str, str]) -> bytes:
    return msgspec.json.encode({"resourceType": "Parameters", "parameter": list(entries)})


def ids(lines: list[dict[str, str]]) -> set[str]:
    return {f"{line['resourceType']}/{line['id']}" for line in lines}


async def test_get_and_post_with_parameters_give_the_same_export_D1_E11_E12(
    site: Exchange,
) -> None:
    await site.fill([*numbered("Patient", 2), *numbered("Observation", 2)])
    site.work()
    by_get = await site.export("?_type=Patient")
    body = parameters({"name": "_type", "valueString": "Patient"})
    by_post = await site.export(method="POST", headers=BODY, body=body)
    for name in ("count", "sha256"):
        assert [item[name] for item in by_get["output"]] == [
            item[name] for item in by_post["output"]
        ]
    assert ids(await site.lines(by_post)) == {"Patient/0", "Patient/1"}


async def test_a_post_with_a_query_and_without_a_body_counts_D13(site: Exchange) -> None:
    await site.fill([*numbered("Patient", 1), *numbered("Observation", 1)])
    site.work()
    manifest = await site.export("?_type=Observation", method="POST")
    assert ids(await site.lines(manifest)) == {"Observation/0"}
    assert manifest["request"] == f"{BASE}/$export?_type=Observation"


async def test_repeated_types_and_a_comma_list_are_the_same_E13_E14(site: Exchange) -> None:
    await site.fill([*numbered("Patient", 1), *numbered("Encounter", 1), *numbered("Basic", 1)])
    site.work()
    for query in ("?_type=Patient&_type=Encounter", "?_type=Patient,Encounter"):
        assert ids(await site.lines(await site.export(query))) == {"Patient/0", "Encounter/0"}
    repeated = parameters(
        {"name": "_type", "valueCode": "Patient"}, {"name": "_type", "valueCode": "Encounter"}
    )
    manifest = await site.export(method="POST", headers=BODY, body=repeated)
    assert ids(await site.lines(manifest)) == {"Patient/0", "Encounter/0"}


async def test_only_the_system_level_is_there_and_the_others_say_so_E10(site: Exchange) -> None:
    for level in ("Patient", "Group/1"):
        for method in ("GET", "POST"):
            answer = await site.client.request(method, f"/fhir/{level}/$export", headers=KICK_OFF)
            assert answer.status_code == 400
            assert answer.json()["issue"][0]["code"] == "not-supported"
    statement = (await site.client.get("/fhir/metadata")).json()
    assert [entry["name"] for entry in statement["rest"][0]["operation"]] == ["export"]
    assert await site.nothing_was_created()


async def test_no_accept_header_is_taken_as_fhir_json_E21(site: Exchange) -> None:
    del site.client.headers["Accept"]
    answer = await site.kick_off(headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["Content-Type"].startswith("application/fhir+json")


async def test_without_respond_async_nothing_is_started_E22_D4(site: Exchange) -> None:
    answer = await site.kick_off(headers={"Accept": "application/fhir+json"})
    assert answer.status_code == 400
    assert "respond-async" in answer.json()["issue"][0]["diagnostics"]
    assert await site.nothing_was_created()


async def test_an_export_may_have_its_status_apart_from_the_requests_E23(site: Exchange) -> None:
    await site.fill(numbered("Patient", 1))
    headers = {**KICK_OFF, "Prefer": "respond-async, separate-export-status"}
    accepted = await site.kick_off(headers=headers)
    assert accepted.status_code == 202
    applied = accepted.headers["Preference-Applied"]
    assert applied == "respond-async, separate-export-status"
    waiting = await site.client.get(f"/fhir/$export-status/{job_of_answer(accepted)}")
    assert (waiting.status_code, waiting.headers["X-Export-Status"]) == (200, "202 Accepted")
    assert waiting.content == b""
    assert int(waiting.headers["Retry-After"]) > 0
    site.work()
    complete = await site.ended(accepted)
    assert (complete.status_code, complete.headers["X-Export-Status"]) == (200, "200 OK")
    assert complete.headers["Content-Type"] == "application/json"
    assert complete.json()["output"][0]["count"] == 1


async def test_who_did_not_ask_for_a_separate_status_gets_none_E23(site: Exchange) -> None:
    accepted = await site.kick_off()
    assert accepted.headers["Preference-Applied"] == "respond-async"
    waiting = await site.client.get(f"/fhir/$export-status/{job_of_answer(accepted)}")
    assert waiting.status_code == 202
    assert "X-Export-Status" not in waiting.headers


def job_of_answer(accepted) -> str:
    return job_of(accepted.headers["Content-Location"])


@pytest.mark.parametrize(
    "query", ["", "?_outputFormat=application/fhir%2Bndjson", "?_outputFormat=application/ndjson",
              "?_outputFormat=ndjson", "?_outputFormat=application/fhir+ndjson"],
)  # fmt: skip
async def test_every_name_of_ndjson_gives_ndjson_E26(site: Exchange, query: str) -> None:
    await site.fill(numbered("Patient", 1))
    site.work()
    manifest = await site.export(query)
    assert manifest["outputFormat"] == "application/fhir+ndjson"
    assert ids(await site.lines(manifest)) == {"Patient/0"}


async def test_since_gives_what_changed_later_and_nothing_it_refers_to_E27_E28(
    site: Exchange,
) -> None:
    await site.fill([prepared("Patient", "p1"), prepared("Patient", "p2")])
    site.work()
    first = await site.export()
    await site.fill([prepared("Observation", "o1", b'"subject":{"reference":"Patient/p1"}')])
    later = await site.export(f"?_since={first['transactionTime']}")
    assert ids(await site.lines(later)) == {"Observation/o1"}
    nothing = await site.export(f"?_since={later['transactionTime']}")
    assert nothing["output"] == []


async def test_until_ends_where_the_next_since_begins_E30(site: Exchange) -> None:
    store = await site.ports.tenants.store(TENANT)
    first = await store.create(prepared("Patient", "p1"))
    site.work()
    border = format_instant(first.version.updated_ms)
    before = await site.export()  # its cut puts every later write behind it
    second = await store.create(prepared("Patient", "p2"))
    assert second.version.updated_ms > first.version.updated_ms
    assert ids(await site.lines(await site.export(f"?_until={border}"))) == {"Patient/p1"}
    assert ids(await site.lines(await site.export(f"?_since={border}"))) == {"Patient/p2"}
    assert ids(await site.lines(before)) == {"Patient/p1"}


async def test_no_type_gives_all_types_that_are_there_E31(site: Exchange) -> None:
    await site.fill([*numbered("Patient", 1), *numbered("Basic", 1), *numbered("ValueSet", 1)])
    site.work()
    manifest = await site.export()
    assert [item["type"] for item in manifest["output"]] == ["Basic", "Patient", "ValueSet"]


async def test_a_kick_off_names_an_absolute_url_and_says_so_E44(site: Exchange) -> None:
    answer = await site.kick_off()
    assert answer.status_code == 202
    assert answer.headers["Content-Location"].startswith(f"{BASE}/$export-status/")
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_every_refusal_has_an_outcome_as_fhir_json_E45(site: Exchange) -> None:
    answers = [
        await site.kick_off("?_foo=1"),
        await site.kick_off(headers={**KICK_OFF, "Accept": "text/html"}),
        await site.kick_off(headers={"Accept": "*/*"}),
        await site.kick_off(method="POST", headers=BODY, body=b"{"),
        await site.kick_off(method="PUT"),
        await site.client.get("/fhir/nosuch/$export", headers=KICK_OFF),
    ]
    assert [answer.status_code for answer in answers] == [400, 406, 400, 400, 405, 404]
    for answer in answers:
        assert answer.headers["Content-Type"].startswith("application/fhir+json")
        (issue,) = answer.json()["issue"]
        assert issue["severity"] == "error"
        assert issue["diagnostics"]
    assert await site.nothing_was_created()


async def test_a_kick_off_too_many_is_refused_and_leaves_no_pin_E46(site: Exchange) -> None:
    for _ in range(site.limits.open_jobs_max):
        assert (await site.kick_off()).status_code == 202
    answer = await site.kick_off()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["issue"][0]["code"] == "throttled"
    store = await site.ports.tenants.store(TENANT)
    assert len(await store.pins()) == site.limits.open_jobs_max
    other = await site.client.get("/fhir/acme/$export", headers=KICK_OFF)
    assert other.status_code == 202  # the limit is each tenant's own


async def test_head_starts_nothing_and_options_tells_the_methods(site: Exchange) -> None:
    head = await site.client.head("/fhir/$export", headers=KICK_OFF)
    assert head.status_code == 405
    options = await site.client.options("/fhir/$export")
    assert (options.status_code, options.content) == (204, b"")
    assert set(options.headers["Allow"].split(", ")) == {"GET", "POST", "OPTIONS"}
    assert "Content-Type" not in options.headers
    assert await site.nothing_was_created()
