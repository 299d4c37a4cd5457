"""Error types: what can go wrong, each with the FHIR issue code a client is told.

Foreign errors become one of these at the border (a backend, the web), so the
engine catches types and never a driver's exception. A message says what to do
and never holds a resource's content.
"""

from typing import ClassVar, Literal

IssueCode = Literal[
    "invalid",
    "structure",
    "required",
    "value",
    "security",
    "forbidden",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "too-costly",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
]


class PenstockError(Exception):
    """Base of every error that Penstock raises on purpose."""

    code: ClassVar[IssueCode] = "exception"


# What a caller asked for and cannot have.


class BadRequest(PenstockError):
    """The request is wrong; nothing was done. `expression` names the parameter or element."""

    code: ClassVar[IssueCode] = "invalid"

    def __init__(self, message: str, *, expression: str | None = None) -> None:
        super().__init__(message)
        self.expression = expression


class BadParameter(BadRequest):
    """A parameter has a value that cannot be understood."""

    code: ClassVar[IssueCode] = "value"


class NotSupported(BadRequest):
    """Understood, and refused because this server does not do it."""

    code: ClassVar[IssueCode] = "not-supported"


class UnknownParameter(NotSupported):
    """There is no such search parameter here. A lenient search warns, and goes on without it."""


class WithoutEffect(BadParameter):
    """A parameter that asks for nothing. A lenient search warns, and goes on without it."""


class TooCostly(BadRequest):
    """A query that asks for more than one search may: it names more values, types or steps than
    the limit that the message tells."""

    code: ClassVar[IssueCode] = "too-costly"


class Duplicate(BadRequest):
    """One request names the same resource more than once."""

    code: ClassVar[IssueCode] = "duplicate"


class NotFound(PenstockError):
    """There is no such thing for this tenant; also what another tenant's things look like."""

    code: ClassVar[IssueCode] = "not-found"


class Gone(PenstockError):
    """The resource was deleted."""

    code: ClassVar[IssueCode] = "deleted"


class Conflict(PenstockError):
    """The state of the thing does not allow this change."""

    code: ClassVar[IssueCode] = "conflict"


class VersionMismatch(Conflict):
    """If-Match named another version than the current one."""


class MultipleMatches(PenstockError):
    """Criteria that may match one resource, or so many, match more."""

    code: ClassVar[IssueCode] = "multiple-matches"


class ReferenceUnresolved(PenstockError):
    """A reference that has to be resolved means nothing that is there."""

    code: ClassVar[IssueCode] = "not-found"


class PatchFailed(PenstockError):
    """A patch that is sound does not fit the resource: a test failed, or a path leads nowhere."""

    code: ClassVar[IssueCode] = "processing"


class DeadlinePassed(PenstockError):
    """A query took longer than it may, and was stopped."""

    code: ClassVar[IssueCode] = "timeout"


class TooMany(PenstockError):
    """A limit of requests or jobs is reached; try again after `retry_after_s` seconds."""

    code: ClassVar[IssueCode] = "throttled"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ResourceInvalid(PenstockError):
    """A body is not a resource this server can keep. The message holds no content of it."""

    code: ClassVar[IssueCode] = "structure"

    def __init__(
        self, message: str, *, code: IssueCode = "structure", expression: str | None = None
    ) -> None:
        super().__init__(message)
        self.issue_code = code
        self.expression = expression


class ResourceTooLarge(ResourceInvalid):
    """A body, or a line, is over the limit of `bytes_max` bytes."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(
            f"longer than the limit of {bytes_max} bytes (setting resource_bytes_max)",
            code="too-long",
        )
        self.bytes_max = bytes_max


# What a worker meets.


class LeaseLost(PenstockError):
    """Another worker claimed the job, or it ended: nothing of ours may be written."""

    code: ClassVar[IssueCode] = "lock-error"


class JobCancelled(LeaseLost):
    """The job was cancelled or deleted by its owner."""


class Transient(PenstockError):
    """It may work later; the job is released with a delay and loses no attempt."""

    code: ClassVar[IssueCode] = "transient"


class StoreUnavailable(Transient):
    """The resource or job store did not answer, or is busy."""


class NotIndexed(Transient):
    """The search index does not hold yet what a query looks at."""

    code: ClassVar[IssueCode] = "incomplete"


class JobStalled(Transient):
    """A job made no progress for so long that its worker gave it back."""


class OutputUnavailable(Transient):
    """The output store did not take or give the bytes."""


class OutputFull(OutputUnavailable):
    """No space is left for output files."""

    code: ClassVar[IssueCode] = "no-store"


class Permanent(PenstockError):
    """It will not work however often it is tried; the job fails with this message."""


class SnapshotGone(Permanent):
    """The store was restored or replaced: the state the job was to export no longer exists."""

    code: ClassVar[IssueCode] = "incomplete"


class PartIncomplete(Permanent):
    """The producer ended without saying that the part was complete."""

    code: ClassVar[IssueCode] = "incomplete"


# What stops the program from starting.


class StartupError(PenstockError):
    """The program cannot start; the message says what to change. Exit status 2."""


class SettingInvalid(StartupError):
    """A setting cannot be used; `setting` is its name."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"setting {setting}: {message}")
        self.setting = setting


class SchemaTooNew(StartupError):
    """The file was written by a newer program."""


class StoreDamaged(StartupError):
    """The file is not a Penstock store, or its pages are damaged."""
