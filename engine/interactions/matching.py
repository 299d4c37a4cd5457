"""Matching: what the criteria and version conditions of a request allow.

Sources: FHIR R4 http.html#concurrency and http.html#cond-update.
"""

from engine.errors import Gone, MultipleMatches, NotFound, VersionMismatch
from engine.fhir.search.tree import Query
from engine.model import Version
from engine.ports import WriteSession


def live(version: Version | None) -> Version | None:
    """The version if it is one of a resource that is there, and not its deletion."""
    return None if version is None or version.deleted else version


async def only_match(session: WriteSession, query: Query) -> Version | None:
    """The live resource that matches; None if there is none. Raises MultipleMatches."""
    matches = await session.find(query, limit=2)
    if len(matches) > 1:
        raise MultipleMatches(
            "the criteria match several resources and must match one: make them more specific"
        )
    return matches[0] if matches else None


async def current(session: WriteSession, type: str, id: str) -> Version:
    """The live version. Raises NotFound, Gone."""
    found = await session.read(type, id)
    if found is None:
        raise NotFound("there is no such resource")
    if found.deleted:
        raise gone(found)
    return found


def gone(tombstone: Version) -> Gone:
    """What is said of a deleted resource."""
    return Gone(f"{tombstone.type}/{tombstone.id} was deleted as version {tombstone.version}")


def require_version(found: Version | None, if_match: int | None) -> None:
    """Raise VersionMismatch unless `found` is live and of the version asked for, if any was."""
    if if_match is None:
        return
    there = live(found)
    if there is None or there.version != if_match:
        raise VersionMismatch(
            "the resource has another version than If-Match names: read it and try again"
        )
