"""References by criteria are resolved once all else is stored, or the resource is rejected."""

import json

import pytest

from backends.clock import SystemStoreClock
from engine.fhir.search.query import SearchContext
from engine.tenant import DEFAULT_TENANT
from tests.support.ports import memory_ports, memory_world, sqlite_ports
from web.cli.loading.conditional import HeldBack, SecondPass
from web.cli.loading.crew import ThreadHand
from web.cli.loading.cutting import cut
from web.cli.loading.parsing import Rules
from web.cli.loading.pipeline import Pipeline
from web.cli.loading.sources import find_sources

RULES = Rules(resource_bytes_max=100_000)


class Told:
    """What a load reports."""

    def __init__(self) -> None:
        self.stored = self.unchanged = self.references = 0
        self.rejected: list[tuple[int | None, str]] = []

    def take(self, batch, done) -> None:
        self.stored += done.created + done.updated
        self.unchanged += done.unchanged
        self.references += batch.conditional
        self.rejected += [(one.line, one.error) for one in batch.rejected]


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    clock = SystemStoreClock()  # batches are parsed in a real thread
    memory = memory_ports(memory_world(clock=clock))
    sqlite = sqlite_ports(tmp_path / "store", store_clock=clock)
    async with memory if request.param == "memory" else sqlite as opened:
        await opened.tenants.ensure(DEFAULT_TENANT)
        yield await opened.tenants.store(DEFAULT_TENANT)


def patient(id: str, identifier: str, **more) -> dict:
    return {"resourceType": "Patient", "id": id, "identifier": [{"value": identifier}], **more}


def referring(id: str, *criteria: str) -> dict:
    return {
        "resourceType": "Observation",
        "id": id,
        "performer": [{"reference": one} for one in criteria],
    }


async def load(store, folder, *lines: dict) -> Told:
    told, held = Told(), HeldBack()

    def take(batch, done):
        held.add(batch.held)
        told.take(batch, done)

    path = folder / "x.ndjson"
    path.write_text("\n".join(map(json.dumps, lines)))
    cuts = cut(find_sources([path]), line_bytes_max=100_000)
    hand = ThreadHand(RULES, await store.packer())
    await Pipeline(store, cuts, RULES, [hand], take).run()
    context = SearchContext(now_ms=0)
    await SecondPass(store, context, told.take, bytes_max=100_000).run(held)
    return told


async def test_the_only_match_takes_the_place_of_the_criteria_wherever_it_stands(store, tmp_path):
    lines = (
        referring("o", "Patient?identifier=1", "Patient/x", "Patient?identifier=2"),
        patient("a", "1"),
        patient("b", "2"),
    )
    told = await load(store, tmp_path, *lines)
    assert (told.stored, told.references, told.rejected) == (3, 2, [])
    found = json.loads((await store.read("Observation", "o")).body)
    assert [one["reference"] for one in found["performer"]] == [
        "Patient/a", "Patient/x", "Patient/b",
    ]  # fmt: skip
    again = await load(store, tmp_path, *lines)
    assert (again.stored, again.unchanged, again.rejected) == (0, 3, [])


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        ("Patient?identifier=secret", "matches no resource"),
        ("Patient?identifier=1", "matches several"),
        ("Patient?nonsense=secret", "criteria that are none"),
        ("Nonsense?identifier=secret", "criteria that are none"),
        ("Patient?_count=1", "no criteria"),
    ],
)
async def test_what_has_not_one_match_is_rejected_by_line_and_not_stored(
    store, tmp_path, criteria, reason
):
    told = await load(
        store, tmp_path, patient("a", "1"), referring("o", criteria), patient("b", "1")
    )
    ((line, error),) = told.rejected
    assert line == 2
    assert reason in error
    assert "secret" not in error
    assert told.stored == 2
    assert await store.read("Observation", "o") is None


async def test_what_waits_may_refer_to_what_waits_but_not_in_a_circle(store, tmp_path):
    link = "link"
    told = await load(
        store,
        tmp_path,
        patient("c", "3", **{link: [{"other": {"reference": "Patient?identifier=2"}}]}),
        patient("b", "2", **{link: [{"other": {"reference": "Patient?identifier=1"}}]}),
        patient("a", "1"),
        patient("x", "8", **{link: [{"other": {"reference": "Patient?identifier=9"}}]}),
        patient("y", "9", **{link: [{"other": {"reference": "Patient?identifier=8"}}]}),
    )
    assert told.stored == 3
    assert b'"Patient/b"' in (await store.read("Patient", "c")).body
    assert [line for line, _ in told.rejected] == [4, 5]
