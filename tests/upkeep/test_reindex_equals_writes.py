"""An index that was made again is, row for row, the one that writes have made."""

import gzip
from pathlib import Path
from random import Random

import msgspec
import pytest

from backends.sqlite import reindex
from engine.ports import TenantStore
from engine.upkeep.reindex import FENCE
from tests.upkeep.conftest import index_of, resource

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "synthea-r4"
TYPES = ("AllergyIntolerance", "CarePlan", "ImagingStudy", "Observation", "Organization", "Patient")
OF_A_TYPE_MAX = 60
CHANGES = 150


def sample() -> list[bytes]:
    return [
        line
        for type in TYPES
        for line in gzip.decompress((SAMPLE / f"{type}.ndjson.gz").read_bytes()).splitlines()[
            :OF_A_TYPE_MAX
        ]
    ]


async def live_through(store: TenantStore, random: Random) -> None:
    """Load, and then write, write over and delete, in an order by chance."""
    bodies = sample()
    random.shuffle(bodies)
    half = len(bodies) // 2
    await store.ingest([resource(body) for body in bodies[:half]])
    for _ in range(CHANGES):
        body = msgspec.json.decode(random.choice(bodies))
        type, id = body["resourceType"], body["id"]
        if random.random() < 0.3:
            await store.delete(type, id)
            continue
        # What another resource says, or a part of what this one said.
        other = msgspec.json.decode(random.choice([one for one in bodies if type.encode() in one]))
        if other["resourceType"] == type and random.random() < 0.5:
            body = other | {"id": id}
        else:
            for name in random.sample(sorted(body), len(body) // 3):
                if name not in ("resourceType", "id"):
                    del body[name]
        await store.update(resource(msgspec.json.encode(body)))


async def make_again(store: TenantStore, token: int, *, rebuild: bool) -> int:
    await store.begin_reindex(FENCE, token, rebuild=rebuild)
    fixed = 0
    while not (step := await store.step_reindex(FENCE, token)).done:
        fixed += step.fixed
    return fixed


@pytest.mark.parametrize("seed", range(4))
async def test_rebuilt_index_is_what_writes_have_made(
    store: TenantStore, path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
):
    random = Random(seed)
    monkeypatch.setattr(reindex, "STEP_ROWS_MAX", random.choice((7, 50, 2000)))
    await live_through(store, random)
    before = index_of(path)
    assert len(before["tok"]) > 500
    assert len(before["ref"]) > 50
    fixed = await make_again(store, 1, rebuild=True)
    assert fixed == len(before["live"])
    assert index_of(path) == before


async def test_writes_in_the_middle_of_a_rebuild_leave_nothing_out_and_nothing_twice(
    store: TenantStore, path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reindex, "STEP_ROWS_MAX", 20)
    random = Random(9)
    await live_through(store, random)
    bodies = [resource(body) for body in random.sample(sample(), 60)]
    await store.begin_reindex(FENCE, 1, rebuild=True)
    while not (await store.step_reindex(FENCE, 1)).done:
        for one in (bodies.pop() for _ in range(min(2, len(bodies)))):
            await store.update(one)
        if bodies:
            gone = bodies.pop()
            await store.delete(gone.type, gone.id)
    meanwhile = index_of(path)
    await make_again(store, 2, rebuild=True)
    assert index_of(path) == meanwhile


async def test_an_index_that_lacks_nothing_is_left_alone(store: TenantStore, path: Path):
    await live_through(store, Random(1))
    before = index_of(path)
    assert await store.indexed()
    assert await make_again(store, 1, rebuild=False) == 0
    assert index_of(path) == before
