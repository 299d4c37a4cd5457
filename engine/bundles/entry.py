"""Entry: one request of a batch or transaction Bundle, read and checked, and how it fails."""

import enum
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from engine.errors import PenstockError
from engine.fhir.patch import Patch


class Method(enum.StrEnum):
    """HTTP methods an entry may have, in the order in which a transaction does them (FHIR R4
    http.html#trules)."""

    DELETE = "DELETE"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    GET = "GET"
    HEAD = "HEAD"


READS = frozenset({Method.GET, Method.HEAD})


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry asks for. `number` is its place in Bundle.entry, from 0."""

    number: int
    method: Method
    url: str  # below the FHIR base, without a slash before it
    type: str = ""  # these three: of a write, and of a read of one resource
    id: str = ""  # "": not given, or the server's to give
    criteria: str = ""  # of a conditional form: a query string
    full_url: str = ""
    text: bytes = b""  # the resource of POST and PUT, without white space
    patch: Patch | None = None
    if_match: int | None = None
    if_none_match: str = ""  # of a write only "*": create and no more
    if_modified_since: str = ""  # of a read
    operation: bool = False  # neither an interaction with a resource nor a read

    @property
    def reads(self) -> bool:
        return self.method in READS

    @property
    def label(self) -> str:
        return entry_label(self.number)


class EntryFailed(PenstockError):
    """An entry of a Bundle cannot be done; `cause` says why. A transaction does nothing then."""

    def __init__(self, number: int, cause: PenstockError) -> None:
        super().__init__(f"{entry_label(number)}: {cause}")
        self.number = number
        self.cause = cause


def entry_label(number: int) -> str:
    """An entry as FHIRPath, for messages and OperationOutcome.issue.expression."""
    return f"Bundle.entry[{number}]"


@contextmanager
def naming(number: int) -> Iterator[None]:
    """Errors of ours in the block say which entry they are of."""
    try:
        yield
    except EntryFailed:
        raise
    except PenstockError as error:
        raise EntryFailed(number, error) from error
