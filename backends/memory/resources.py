"""Single reads and writes of the memory backend, and its ingest.

The rules of time are those of DESIGN 6: a write takes max(now, cut + 1 ms, last), so that
what is visible at a cut is exactly what has a lastUpdated up to its transactionTime.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from backends.clock import StoreClock
from backends.definitions import SEARCH_PARAMETER
from backends.memory.definitions import check_usable
from backends.memory.state import SEQ_BITS, MemoryWorld, Process, Row, StoreState
from engine.errors import Conflict, VersionMismatch
from engine.instant import format_instant
from engine.model import Ingested, Prepared, StoreStatistics, Version, Written

_PACKED: Final = msgspec.msgpack.Decoder(list[Prepared])


class MemoryPacker:
    """See engine.ports.Packer. Nothing is made ahead: the index is the resources themselves."""

    def pack(self, resources: Sequence[Prepared]) -> bytes:
        """See engine.ports.Packer."""
        return msgspec.msgpack.encode(resources)


class MemoryResources:
    """ResourceReader, ResourceWriter and BulkWriter of one tenant."""

    def __init__(self, process: Process, store: StoreState) -> None:
        self._process = process
        self._store = store

    async def read(self, type: str, id: str) -> Version | None:
        """See ResourceReader."""
        return await self._process.look(lambda: current_version(self._store, type, id))

    async def vread(self, type: str, id: str, version: int) -> Version | None:
        """See ResourceReader."""
        return await self._process.look(lambda: _numbered(self._store, type, id, version))

    async def statistics(self) -> StoreStatistics:
        """See ResourceReader."""
        return await self._process.look(lambda: _statistics(self._store))

    async def create(self, resource: Prepared) -> Written:
        """See ResourceWriter."""
        return await self._process.effect(lambda: _create(self._world, self._store, resource))

    async def update(self, resource: Prepared, *, if_match: int | None = None) -> Written:
        """See ResourceWriter."""
        return await self._process.effect(
            lambda: update(self._world, self._store, resource, if_match)
        )

    async def delete(self, type: str, id: str, *, if_match: int | None = None) -> Version | None:
        """See ResourceWriter."""
        return await self._process.effect(
            lambda: delete(self._world, self._store, type, id, if_match)
        )

    async def ingest(self, resources: Sequence[Prepared]) -> Ingested:
        """See BulkWriter."""
        return await self._process.effect(
            lambda: _ingest(self._store, self._world.clock, resources)
        )

    async def packer(self) -> MemoryPacker:
        """See BulkWriter."""
        return await self._process.look(MemoryPacker)

    async def ingest_packed(self, batches: Sequence[bytes]) -> Ingested:
        """See BulkWriter."""
        resources = [one for batch in batches for one in _PACKED.decode(batch)]
        return await self._process.effect(
            lambda: _ingest(self._store, self._world.clock, resources)
        )

    @property
    def _world(self) -> MemoryWorld:
        return self._process.world


def current_version(store: StoreState, type: str, id: str) -> Version | None:
    """The newest, a deletion included."""
    return _version_of(_current(store, type, id))


def _create(world: MemoryWorld, store: StoreState, resource: Prepared) -> Written:
    if _live(store, resource.type, resource.id) is not None:
        raise Conflict("there is a resource with this id already")
    return update(world, store, resource, None)


def update(
    world: MemoryWorld, store: StoreState, resource: Prepared, if_match: int | None
) -> Written:
    """See ResourceWriter."""
    _require_match(_live(store, resource.type, resource.id), if_match)
    if resource.type == SEARCH_PARAMETER:
        check_usable(world, store, resource.unwritten_body)
    return _put(store, resource, _write_time(store, world.clock))


def delete(
    world: MemoryWorld, store: StoreState, type: str, id: str, if_match: int | None
) -> Version | None:
    """See ResourceWriter."""
    _require_match(_live(store, type, id), if_match)
    current = _current(store, type, id)
    if current is None or current.version.deleted:
        return _version_of(current)
    updated_ms = _write_time(store, world.clock)
    return _append(store, Version(type, id, current.version.version + 1, updated_ms, None))


def _ingest(store: StoreState, clock: StoreClock, resources: Sequence[Prepared]) -> Ingested:
    updated_ms = _write_time(store, clock)  # one instant for the whole transaction
    created = updated = unchanged = 0
    for resource in resources:
        live = _live(store, resource.type, resource.id)
        if live is not None and _same(live, resource):
            unchanged += 1
        elif _put(store, resource, updated_ms).created:
            created += 1
        else:
            updated += 1
    return Ingested(created, updated, unchanged)


def _write_time(store: StoreState, clock: StoreClock) -> int:
    return max(clock.now_ms(), store.cut_ms + 1, store.last_ms)


def _require_match(live: Version | None, if_match: int | None) -> None:
    if if_match is None:
        return
    if live is None or live.version != if_match:
        raise VersionMismatch("the resource has another version than If-Match names")


def _same(live: Version, resource: Prepared) -> bool:
    """Equal but for versionId and lastUpdated: the same body if those were put in."""
    return live.body == resource.body(live.version, format_instant(live.updated_ms))


def _put(store: StoreState, resource: Prepared, updated_ms: int) -> Written:
    current = _current(store, resource.type, resource.id)
    number = 1 if current is None else current.version.version + 1
    body = resource.body(number, format_instant(updated_ms))
    version = Version(resource.type, resource.id, number, updated_ms, body)
    return Written(_append(store, version), created=current is None or current.version.deleted)


def _append(store: StoreState, version: Version) -> Version:
    """Make it the current version. The only place that changes rows."""
    store.seq += 1
    store.last_ms = version.updated_ms
    number = store.type_numbers.setdefault(version.type, len(store.type_numbers) + 1)
    row = Row(number << SEQ_BITS | store.seq, store.seq, version)
    history = store.versions.setdefault((version.type, version.id), [])
    if history:
        history[-1].replaced_by = row.seq
    history.append(row)
    store.rows.append(row)
    return version


def _current(store: StoreState, type: str, id: str) -> Row | None:
    history = store.versions.get((type, id))
    return history[-1] if history else None


def _live(store: StoreState, type: str, id: str) -> Version | None:
    current = _current(store, type, id)
    return None if current is None or current.version.deleted else current.version


def _version_of(row: Row | None) -> Version | None:
    return None if row is None else row.version


def _numbered(store: StoreState, type: str, id: str, number: int) -> Version | None:
    for row in store.versions.get((type, id), []):
        if row.version.version == number:
            return row.version
    return None


def _statistics(store: StoreState) -> StoreStatistics:
    rows: dict[str, int] = {}
    for history in store.versions.values():
        newest = history[-1].version
        if not newest.deleted:
            rows[newest.type] = rows.get(newest.type, 0) + 1
    return StoreStatistics(
        store=store.id,
        seq=store.seq,
        cut_ms=store.cut_ms,
        last_ms=store.last_ms,
        rows=rows,
        open_snapshots=len(store.pins),
    )
