"""The typed commands that reach the supervisor.

Truth lives in the job store, so a command may be lost: it only hastens what
polling would find.
"""

import msgspec

from engine.model import JobId


class Wake(msgspec.Struct, frozen=True):
    """There may be a job to claim."""


class CancelJob(msgspec.Struct, frozen=True):
    """This job was cancelled or deleted: look now, not at the next renewal."""

    job: JobId


class Drain(msgspec.Struct, frozen=True):
    """Stop claiming; finish or release what runs; then end."""


Command = Wake | CancelJob | Drain
