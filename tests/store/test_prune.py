"""Pruning in small steps."""

import pytest

from backends.sqlite import prune
from backends.sqlite.tenant_store import SqliteTenantStore
from tests.store.conftest import Site
from tests.store.indexed import Index
from tests.store.test_index import check, saying


@pytest.mark.parametrize(("ids", "versions"), [(1, 1), (2, 100), (100, 2), (3, 3)])
async def test_steps_of_any_size_remove_the_same(
    site: Site,
    store: SqliteTenantStore,
    monkeypatch: pytest.MonkeyPatch,
    ids: int,
    versions: int,
):
    monkeypatch.setattr(prune, "STEP_IDS_MAX", ids)
    monkeypatch.setattr(prune, "STEP_VERSIONS_MAX", versions)
    for type in ("Patient", "Group"):
        for number in range(3):
            for word in ("Apple", "pear", "plum", "quince")[: 2 + number]:
                await store.update(saying(word, id=str(number), type=type))
    before = check(site, store)
    site.clock.step_wall(1000)
    removed, cursor = 0, None
    for _ in range(100):
        step = await store.prune(older_than_ms=site.clock.now_ms(), keep=1, after=cursor)
        removed, cursor = removed + step.removed, step.cursor
        if cursor is None:
            break
    assert removed == 2 * (1 + 2 + 3)
    assert (await store.history(limit=0)).total == 6
    search = store._file.definitions.newest
    assert Index(site.path, search).live == before.live  # numbers and all, without their firsts
    await store.update(saying("Apple", id="2"))
    assert len(Index(site.path, search).rows["str"]) == 6
