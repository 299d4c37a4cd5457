"""Search of the memory backend: every live resource is looked at, and all is put in order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

import msgspec

from backends.memory.definitions import SECRET, definitions_of
from backends.memory.matching import Matcher, Resource
from backends.memory.state import MemoryWorld, Process, StoreState
from engine.errors import BadParameter, NotSupported, TooCostly
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.keys import Keys
from engine.fhir.search.tree import Include, Query, SortKey
from engine.model import Found, Version

INCLUDED_MAX = 1_000

_VALUES = {
    SearchKind.STRING: ("strings", 1),
    SearchKind.DATE: ("dates", 1),
    SearchKind.NUMBER: ("numbers", 1),
    SearchKind.QUANTITY: ("quantities", 2),
}


class MemorySearch:
    """ResourceSearch of one tenant."""

    _process: Process
    _store: StoreState

    async def search_definitions(self) -> SearchDefinitions:
        """See ResourceSearch."""
        return await self._process.look(lambda: definitions_of(self._process.world, self._store))

    async def search(self, query: Query, *, limit: int, position: bytes = b"") -> Found:
        """See ResourceSearch."""
        return await self._process.look(
            lambda: _page(self._process.world, self._store, query, limit, position)
        )

    async def count(self, query: Query) -> int:
        """See ResourceSearch."""
        return await self._process.look(
            lambda: len(_look(self._process.world, self._store).found(query))
        )


def find(world: MemoryWorld, store: StoreState, query: Query, *, limit: int) -> Sequence[Version]:
    """The first matches in the query's order."""
    look = _look(world, store)
    return [resource.version for resource in look.sorted(query, look.found(query))[:limit]]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins."""

    seq: int  # of the first page's state
    changed_seq: int  # behind this change; 0: not there yet
    key: tuple[str | int | float | None, ...]
    res: int


def _page(
    world: MemoryWorld, store: StoreState, query: Query, limit: int, position: bytes
) -> Found:
    """What did not change since the first page in the query's order, then what did."""
    look = _look(world, store)
    start = _decoded(position, store, query) if position else None
    seq = store.seq if start is None else start.seq
    found = look.found(query)
    left: list[tuple[Resource, Position]] = []
    if start is None or not start.changed_seq:
        order = _order(query.sort)
        for one in look.sorted(query, [one for one in found if one.seq <= seq]):
            place = (look.key(query, one), one.res)
            if start is None or order(place) > order((start.key, start.res)):
                left.append((one, Position(seq, 0, *place)))
    behind = 0 if start is None else start.changed_seq
    changed = sorted((one for one in found if one.seq > max(seq, behind)), key=lambda r: r.seq)
    left += [(one, Position(seq, one.seq, (), one.res)) for one in changed]
    return _with_includes(look, query, left[:limit], more=len(left) > limit)


def _decoded(position: bytes, store: StoreState, query: Query) -> Position:
    try:
        found = msgspec.msgpack.decode(position, type=Position)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    keys = 0 if found is not None and found.changed_seq else len(query.sort)
    if found is None or found.seq > store.seq or len(found.key) != keys:
        raise BadParameter("this is no page of this search: begin again with the first one")
    return found


def _with_includes(
    look: "_Look", query: Query, page: list[tuple[Resource, Position]], *, more: bool
) -> Found:
    matches = [one for one, _ in page]
    included = look.included(query.includes, matches)
    if len(included) > INCLUDED_MAX:
        if len(page) == 1:
            raise TooCostly("one match includes too much: leave out an _include or _revinclude")
        return _with_includes(look, query, page[: len(page) // 2], more=True)
    return Found(
        matches=tuple(one.version for one in matches),
        included=tuple(one.version for one in included),
        position=msgspec.msgpack.encode(page[-1][1]) if more else b"",
    )


def _look(world: MemoryWorld, store: StoreState) -> "_Look":
    search = definitions_of(world, store)
    keys = Keys(SECRET)
    live = [
        Resource(
            res=history[0].rid,
            seq=history[-1].seq,
            version=history[-1].version,
            key=keys.target(history[-1].version.type, history[-1].version.id),
            search=search,
        )
        for history in store.versions.values()
        if not history[-1].version.deleted
    ]
    names = world.makers(store.tenant).path_names(store.defined_by)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    return _Look(Matcher(sorted(live, key=lambda one: one.res), numbers, keys))


@dataclass(frozen=True)
class _Look:
    """One state of the store."""

    matcher: Matcher

    def found(self, query: Query) -> list[Resource]:
        """All that match, in order of res."""
        return [
            one
            for one in self.matcher.resources
            if (not query.types or one.version.type in query.types)
            and all(self.matcher.matches(one, criterion) for criterion in query.criteria)
        ]

    def sorted(self, query: Query, found: Iterable[Resource]) -> list[Resource]:
        """In the query's order."""
        order = _order(query.sort)
        return sorted(found, key=lambda one: order((self.key(query, one), one.res)))

    def key(self, query: Query, resource: Resource) -> tuple[Any, ...]:
        """What a resource is sorted by."""
        return tuple(self._value(resource, key) for key in query.sort)

    def _value(self, resource: Resource, key: SortKey) -> Any:
        if key.by_id:
            return resource.version.id
        if key.parameter is None:
            return resource.version.updated_ms
        kind, paths = key.parameter.kind, self.matcher.paths(key.parameter)
        if kind in _VALUES:
            name, place = _VALUES[kind]
            found = [row[place] for row in getattr(resource.rows, name) if row[0] in paths]
        elif kind in (SearchKind.TOKEN, SearchKind.URI):
            terms = [term for term in resource.rows.terms if term.path in paths]
            found = [f"{term.code}\0{term.system}" for term in terms]
        else:
            raise NotSupported(f"results are not sorted by a {kind}", expression="_sort")
        if not found:
            return None
        return max(found) if key.descending else min(found)

    def included(self, includes: Sequence[Include], matches: Sequence[Resource]) -> list[Resource]:
        """What goes with a page, each once."""
        known = dict.fromkeys(matches)
        new = list(known)
        while new and includes:
            step: dict[Resource, None] = {}
            for include in includes:
                followed = self._back(include, new) if include.reverse else self._on(include, new)
                step |= dict.fromkeys(one for one in followed if one not in known)
            new = list(step)
            known |= step
            includes = [include for include in includes if include.iterate]
        return list(known)[len(matches) :]

    def _on(self, include: Include, sources: Iterable[Resource]) -> Iterable[Resource]:
        for source in sources:
            if source.version.type == include.source:
                for parameter in include.parameters:
                    for target in self.matcher.targets(source, parameter):
                        if include.target in ("", target.version.type):
                            yield target

    def _back(self, include: Include, targets: Sequence[Resource]) -> Iterable[Resource]:
        wanted = [one for one in targets if include.target in ("", one.version.type)]
        for source in self.matcher.resources:
            if source.version.type == include.source:
                for parameter in include.parameters:
                    if any(target in wanted for target in self.matcher.targets(source, parameter)):
                        yield source


def _order(sort: Sequence[SortKey]) -> Any:
    """A key for `sorted` over (sort values, res): None last, ties by res."""

    def compare(one: tuple[tuple[Any, ...], int], other: tuple[tuple[Any, ...], int]) -> int:
        for key, a, b in zip(sort, one[0], other[0], strict=True):
            if a != b:
                if a is None or b is None:
                    return 1 if a is None else -1
                return -1 if (a < b) is not key.descending else 1
        return one[1] - other[1]

    return cmp_to_key(compare)
