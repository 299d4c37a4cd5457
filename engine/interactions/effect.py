"""Effect: what an interaction did, for whoever has to answer it."""

import enum

import msgspec

from engine.model import Version


class Effect(enum.Enum):
    """What became of the request."""

    CREATED = "created"  # there was no live resource before
    UPDATED = "updated"  # a new version of a live one
    UNCHANGED = "unchanged"  # nothing was written: what was wanted is there
    DELETED = "deleted"  # a new tombstone
    NOTHING = "nothing"  # there was nothing to delete


class Done(msgspec.Struct, frozen=True):
    """One interaction, done."""

    effect: Effect
    version: Version | None = None  # the current one now, a tombstone included; None: none ever
    count: int = 0  # live resources that were created, changed or deleted
