"""Write: create, update, patch and delete, also conditional, inside one atomic change.

Each function is the body of a `Transactions.transact`: it may run more than once and changes
nothing but the session. Sources: FHIR R4 http.html#create, #update, #cond-update, #patch, #delete.
"""

from collections.abc import Callable

from engine.errors import BadRequest, Conflict, MultipleMatches, NotFound, VersionMismatch
from engine.fhir.body import with_id
from engine.fhir.search.tree import Query
from engine.interactions.effect import Done, Effect
from engine.interactions.matching import current, live, only_match, require_version
from engine.model import Prepared, Version, Written
from engine.ports import WriteSession

Change = Callable[[Version], Prepared | None]
"""Makes the next version out of a live one; None if that is as it should be already. Pure. What
it raises refuses the interaction."""


async def create(
    session: WriteSession, resource: Prepared, *, if_none_exist: Query | None = None
) -> Done:
    """Create under the id that `resource` has, or find what the criteria say is there already
    (UNCHANGED, nothing is written). Raises Conflict if a live resource has the id,
    MultipleMatches."""
    if if_none_exist is not None:
        match = await only_match(session, if_none_exist)
        if match is not None:
            return Done(Effect.UNCHANGED, match)
    await _require_free(session, resource.type, resource.id)
    return _written(await session.put(resource))


async def update(
    session: WriteSession,
    resource: Prepared,
    *,
    if_match: int | None = None,
    if_none_match: bool = False,
) -> Done:
    """Update, or create at this id. `if_none_match`: only create. Raises VersionMismatch."""
    if if_match is not None or if_none_match:
        found = await session.read(resource.type, resource.id)
        require_version(found, if_match)
        if if_none_match and live(found) is not None:
            raise VersionMismatch("the resource is there, and If-None-Match: * only creates")
    return _written(await session.put(resource))


async def conditional_update(
    session: WriteSession,
    query: Query,
    resource: Prepared,
    *,
    has_id: bool,
    if_match: int | None = None,
) -> Done:
    """Update the only match, or create. `has_id`: the sender has given the id; otherwise it is
    a new one and gives way to that of the match.

    Raises BadRequest if the match has another id than the sender gave, Conflict if nothing
    matches but the sender's id is taken, MultipleMatches, VersionMismatch.
    """
    match = await conditional_target(
        session, query, resource.type, resource.id, has_id=has_id, if_match=if_match
    )
    if match is not None and match.id != resource.id:
        resource = with_id(resource, match.id)
    return _written(await session.put(resource))


async def conditional_target(
    session: WriteSession, query: Query, type: str, id: str, *, has_id: bool, if_match: int | None
) -> Version | None:
    """What a conditional update is of: the only match, or None to create at `id`. Arguments and
    errors as for `conditional_update`."""
    match = await only_match(session, query)
    require_version(match, if_match)
    if match is None:
        await _require_free(session, type, id)
    elif has_id and match.id != id:
        raise BadRequest(
            "the resource that matches the criteria has another id than the body: "
            "leave the id out, or update by id",
            expression=f"{type}.id",
        )
    return match


async def patch(
    session: WriteSession, type: str, id: str, change: Change, *, if_match: int | None = None
) -> Done:
    """Change a live resource. Raises NotFound, Gone, VersionMismatch and what `change` does."""
    return await _changed(session, await current(session, type, id), change, if_match)


async def conditional_patch(
    session: WriteSession, query: Query, change: Change, *, if_match: int | None = None
) -> Done:
    """Change the only match. Raises NotFound if there is none, MultipleMatches,
    VersionMismatch and what `change` does."""
    match = await only_match(session, query)
    if match is None:
        raise NotFound("no resource matches the criteria")
    return await _changed(session, match, change, if_match)


async def delete(session: WriteSession, type: str, id: str, *, if_match: int | None = None) -> Done:
    """Delete; NOTHING if it was deleted before or never was. Raises VersionMismatch."""
    found = await session.read(type, id)
    require_version(found, if_match)
    if live(found) is None:
        return Done(Effect.NOTHING, found)
    return Done(Effect.DELETED, await session.delete(type, id), 1)


async def conditional_delete(
    session: WriteSession, query: Query, *, limit: int = 1, if_match: int | None = None
) -> Done:
    """Delete what matches, at most `limit` resources: of more, none is. The version of the
    answer is given if it was one. Raises MultipleMatches, VersionMismatch."""
    matches = await session.find(query, limit=limit + 1)
    if len(matches) > limit:
        raise MultipleMatches(_too_many(limit))
    if not matches:
        require_version(None, if_match)
        return Done(Effect.NOTHING)
    for match in matches:
        require_version(match, if_match)
    gone = [await session.delete(match.type, match.id) for match in matches]
    return Done(Effect.DELETED, gone[0] if len(gone) == 1 else None, len(gone))


def _too_many(limit: int) -> str:
    if limit == 1:
        return "the criteria match several resources and only one is deleted: nothing was"
    return f"the criteria match more than the limit of {limit} resources: none was deleted"


async def _require_free(session: WriteSession, type: str, id: str) -> None:
    if live(await session.read(type, id)) is not None:
        raise Conflict("there is a resource with this id already")


async def _changed(
    session: WriteSession, found: Version, change: Change, if_match: int | None
) -> Done:
    require_version(found, if_match)
    changed = change(found)
    if changed is None:
        return Done(Effect.UNCHANGED, found)
    assert (changed.type, changed.id) == (found.type, found.id)
    return _written(await session.put(changed))


def _written(written: Written) -> Done:
    effect = Effect.CREATED if written.created else Effect.UPDATED
    return Done(effect, written.version, 1)
