"""How often a status may be asked for (bulk-data.md E49)."""

from dataclasses import replace

import msgspec
import pytest

from engine.errors import TooMany
from engine.model import ExportStatus, JobId
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.web.answers import issue_of
from tests.web.site import BASE, Site
from web.app import create_app
from web.fhir.polling import PollLimit
from web.settings import Settings

ASK = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
ACME = TenantId("acme")
ONE, TWO = JobId("1" * 32), JobId("2" * 32)
BURST = 3


class Seconds:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def limit(clock: Seconds) -> PollLimit:
    return PollLimit(clock, per_second=2.0, burst=BURST, jobs_max=10)


def expect_refusal(
    limit: PollLimit, job: JobId = ONE, tenant: TenantId = DEFAULT_TENANT
) -> TooMany:
    with pytest.raises(TooMany) as caught:
        limit.take(tenant, job)
    return caught.value


def spend(limit: PollLimit, job: JobId = ONE, tenant: TenantId = DEFAULT_TENANT) -> None:
    for _ in range(BURST):
        limit.take(tenant, job)


def test_a_burst_is_let_through_and_the_next_poll_is_told_to_wait_E49(limit: PollLimit) -> None:
    spend(limit)
    assert expect_refusal(limit).retry_after_s == 1


@pytest.mark.parametrize("per_second", [0.3, 1.0, 3.0, 10.0, 70.0])
def test_rounding_takes_no_poll_from_a_burst(clock: Seconds, per_second: float) -> None:
    limit = PollLimit(clock, per_second=per_second, burst=20)
    for job in (ONE, TWO):
        for _ in range(20):
            limit.take(DEFAULT_TENANT, job)
        expect_refusal(limit, job)
        clock.now += 0.1234567


def test_who_asks_at_the_pace_is_never_refused_E49(limit: PollLimit, clock: Seconds) -> None:
    spend(limit)
    for _ in range(100):
        clock.now += 0.5
        limit.take(DEFAULT_TENANT, ONE)
    expect_refusal(limit)


def test_refused_polls_make_nobody_wait_longer_E49(limit: PollLimit, clock: Seconds) -> None:
    spend(limit)
    for _ in range(1000):
        expect_refusal(limit)
    clock.now += 0.5
    limit.take(DEFAULT_TENANT, ONE)


def test_after_a_rest_there_is_a_whole_burst_and_no_more(limit: PollLimit, clock: Seconds) -> None:
    spend(limit)
    clock.now += 3600
    spend(limit)
    expect_refusal(limit)


def test_the_wait_is_as_long_as_it_says(clock: Seconds) -> None:
    slow = PollLimit(clock, per_second=0.1, burst=1)
    slow.take(DEFAULT_TENANT, ONE)
    clock.now += 2.5
    wait_s = expect_refusal(slow).retry_after_s
    assert wait_s == 8
    clock.now += wait_s
    slow.take(DEFAULT_TENANT, ONE)


def test_one_jobs_polls_slow_no_other_job_and_no_other_tenant(limit: PollLimit) -> None:
    spend(limit)
    expect_refusal(limit)
    spend(limit, TWO)
    spend(limit, ONE, ACME)


def test_what_is_remembered_is_bounded_and_what_was_used_last_is_kept(limit: PollLimit) -> None:
    spend(limit, ONE, ACME)
    for number in range(100):
        limit.take(DEFAULT_TENANT, JobId(f"{number:032x}"))
    assert len(limit) == 10
    spend(limit, ONE, ACME)  # forgotten: it may poll a little more than is fair
    expect_refusal(limit, ONE, ACME)


def test_a_job_that_is_not_polled_any_more_is_forgotten(limit: PollLimit, clock: Seconds) -> None:
    for job in (ONE, TWO):
        spend(limit, job)
    clock.now += 1.4
    limit.take(DEFAULT_TENANT, TWO)
    assert len(limit) == 2
    clock.now += 0.2
    limit.take(DEFAULT_TENANT, TWO)
    assert len(limit) == 1


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A pace that is slower than any test."""
    return msgspec.structs.replace(settings, polls_per_second=0.02)


@pytest.fixture
async def polled(site: Site) -> tuple[Site, str]:
    """A job whose burst of polls is spent, and the path of its status."""
    accepted = await site.client.get("/fhir/$export", headers=ASK)
    path = accepted.headers["Content-Location"].removeprefix(BASE.removesuffix("/fhir"))
    for _ in range(site.services.settings.polls_burst):
        assert (await site.client.get(path)).status_code == 202
    return site, path


async def test_a_poll_that_is_too_early_is_answered_429_with_a_time_E49(
    polled: tuple[Site, str],
) -> None:
    site, path = polled
    response = await site.client.get(path)
    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 50
    issue = await issue_of(response)
    assert issue["code"] == "throttled"  # of the family of transient ones (E52)
    assert "Retry-After" in issue["diagnostics"]


async def test_abuse_ends_neither_the_export_nor_the_way_to_it_E49(
    polled: tuple[Site, str], autojump_clock: object
) -> None:
    site, path = polled
    for _ in range(200):
        assert (await site.client.get(path)).status_code == 429
    job = await site.ports.export_jobs.get(DEFAULT_TENANT, JobId(path.rpartition("/")[2]))
    assert job.status is ExportStatus.ACCEPTED
    await site.clock.sleep(50)
    assert (await site.client.get(path)).status_code == 202
    assert (await site.client.delete(path)).status_code == 202


async def test_deleting_is_no_poll(polled: tuple[Site, str]) -> None:
    site, path = polled
    assert (await site.client.get(path)).status_code == 429
    assert (await site.client.delete(path)).status_code == 202


async def test_unknown_and_foreign_jobs_are_counted_like_ones_own(site: Site) -> None:
    accepted = await site.client.get("/fhir/acme/$export", headers=ASK)
    foreign = accepted.headers["Content-Location"].rpartition("/")[2]
    burst = site.services.settings.polls_burst
    for job in (foreign, "0" * 32):
        answers = [await site.client.get(f"/fhir/$export-status/{job}") for _ in range(burst + 1)]
        assert [answer.status_code for answer in answers] == [404] * burst + [429]
    own = await site.client.get(f"/fhir/acme/$export-status/{foreign}")
    assert own.status_code == 202  # nobody else can spend its polls


async def test_applications_count_for_themselves(polled: tuple[Site, str]) -> None:
    site, path = polled
    assert (await site.client.get(path)).status_code == 429
    other = create_app(site.services).test_client()
    assert (await other.get(path)).status_code == 202


async def test_the_pace_is_a_setting(site: Site) -> None:
    settings = msgspec.structs.replace(site.services.settings, polls_burst=1)
    services = replace(site.services, settings=settings)
    client = create_app(services).test_client()
    first = await client.get(f"/fhir/$export-status/{'0' * 32}")
    second = await client.get(f"/fhir/$export-status/{'0' * 32}")
    assert (first.status_code, second.status_code) == (404, 429)
