"""Turns pieces of files into batches of checked resources. Blocking, and free of trio."""

import re
from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec

from engine.errors import ResourceInvalid, ResourceTooLarge
from engine.fhir.body import minified, prepare
from engine.fhir.bundle import BUNDLE_DEPTH_MAX, Entry, Skipped, is_to_unpack, unpack
from engine.fhir.lines import split_lines
from engine.limits import MIB
from engine.model import Issue, Prepared
from web.cli.loading.cutting import (
    CUT_ROWS,
    DOCUMENT_BYTES_MAX,
    Cut,
    Document,
    Lines,
    Rejected,
    cut,
)
from web.cli.loading.seen import SeenIds, digest
from web.cli.loading.sources import Source

BATCH_ROWS = CUT_ROWS
BATCH_ROWS_MAX = 5_000  # some 150 ms of a store's writer
BATCH_BYTES_MAX = 4 * MIB  # what a store wants to take at once
ISSUES_TOLD = 5  # of one invalid resource

ID_HINT = "give it one, as NDJSON is stored under the ids that it brings"
TWICE = "the file has a resource of this type and id already: only the first is loaded"

CONDITIONAL = re.compile(rb'(?<!\\)"reference":"([A-Z][A-Za-z]{0,63}\?(?:[^"\\]|\\.)+)"')

__all__ = ["BATCH_BYTES_MAX", "BATCH_ROWS", "DOCUMENT_BYTES_MAX", "Parsed", "Rules", "parse"]

Check = Callable[[bytes], list[Issue]]
"""What is wrong with the structure of a resource."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How resources are taken in."""

    resource_bytes_max: int
    keep_source: bool = False
    structure: bool = False  # whether the structure of each is checked
    release: str = "R4"  # by the definitions of this release


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that refers to others by criteria, and waits until they are all stored."""

    file: str
    line: int | None = None
    entry: int | None = None
    type: str
    id: str
    head: bytes
    tail: bytes


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, and what else was found on the way. Any of it may be empty."""

    resources: list[Prepared]
    rejected: list[Rejected]
    notices: list[str]  # what is odd about a file, with nothing lost
    held: list[Held]
    unresolved: int  # references to entries that their Bundle does not have
    bytes_read: int  # on disk
    seen: list[tuple[int, bytes]]  # number of a file, and what of it must be known to no other


class Seen:
    """Which resources the file of NDJSON that is being read has held so far."""

    def __init__(self) -> None:
        self._number = -1
        self._ids = SeenIds()

    def _turn_to(self, number: int) -> None:
        if number != self._number:
            self._number, self._ids = number, SeenIds()

    def add(self, number: int, digest: bytes) -> bool:
        """Remember one. False: it was there already."""
        self._turn_to(number)
        return self._ids.add_digest(digest)

    def add_all(self, runs: Sequence[tuple[int, bytes]]) -> bool:
        """Remember runs of digests, if none of them was there and none comes twice; otherwise
        nothing. `runs` of one file follow one another."""
        fresh = {number: SeenIds.split(run) for number, run in _joined(runs).items()}
        for number, digests in fresh.items():
            if len(set(digests)) < len(digests):
                return False
            if number == self._number and any(map(self._ids.has, digests)):
                return False
        for number, digests in fresh.items():
            self._turn_to(number)
            for one in digests:
                self._ids.append(one)
        return True


def _joined(runs: Sequence[tuple[int, bytes]]) -> dict[int, bytes]:
    joined: dict[int, bytes] = {}
    for number, run in runs:
        joined[number] = joined.get(number, b"") + run
    return joined


def parse(sources: Sequence[Source], rules: Rules) -> Generator[Parsed, None, None]:
    """All files in turn, in batches that may hold the end of one file and the next ones.

    Memory: one batch, one line, one block and 16 bytes for each resource of a file.
    """
    seen = Seen()
    for piece in cut(sources, line_bytes_max=rules.resource_bytes_max):
        yield from parse_cut(piece, rules, seen=seen)


def parse_cut(
    cut: Cut, rules: Rules, *, check: Check | None = None, seen: Seen | None = None
) -> Iterator[Parsed]:
    """One cut, in one batch or more. `seen` None: whether lines are repeated is left to whoever
    knows the whole file."""
    parser = _Parser(cut, rules, check, seen)
    yield from parser.run()


class _Batch:
    """What has been parsed and not handed on yet."""

    def __init__(self, cut: Cut) -> None:
        self._clear()
        self.notices += cut.notices
        self.bytes_read = cut.bytes_read

    def _clear(self) -> None:
        self.resources: list[Prepared] = []
        self.rejected: list[Rejected] = []
        self.notices: list[str] = []
        self.held: list[Held] = []
        self.seen: list[tuple[int, bytes]] = []
        self.size_bytes = self.unresolved = self.bytes_read = 0

    def has_room(self, resource: Prepared) -> bool:
        return not self.resources or self.size_bytes + resource.size_bytes <= BATCH_BYTES_MAX

    @property
    def is_full(self) -> bool:
        return (
            self.size_bytes >= BATCH_BYTES_MAX
            or len(self.resources) >= BATCH_ROWS_MAX
            or len(self.rejected) >= BATCH_ROWS
        )

    def take(self) -> Parsed:
        taken = Parsed(
            resources=self.resources,
            rejected=self.rejected,
            notices=self.notices,
            held=self.held,
            unresolved=self.unresolved,
            bytes_read=self.bytes_read,
            seen=self.seen,
        )
        self._clear()
        return taken


class _Parser:
    """One cut on its way into batches."""

    def __init__(self, cut: Cut, rules: Rules, check: Check | None, seen: Seen | None) -> None:
        self._cut = cut
        self._rules = rules
        self._check = check
        self._seen = seen
        self._batch = _Batch(cut)

    def run(self) -> Iterator[Parsed]:
        for piece in self._cut.pieces:
            match piece:
                case Lines():
                    yield from self._lines(piece)
                case Document():
                    yield from self._document(piece)
                case Rejected():
                    self._batch.rejected.append(piece)
        yield self._batch.take()

    def _lines(self, piece: Lines) -> Iterator[Parsed]:
        """One resource a line."""
        limit = self._rules.resource_bytes_max
        digests = bytearray()
        for line in split_lines((piece.text,), bytes_max=limit):
            number = piece.first + line.number - 1
            try:
                if line.text is None:
                    raise ResourceTooLarge(limit)
                resource = self._prepared(line.text, None)
                named = digest(resource.type, resource.id)
                if self._seen is None:
                    digests += named
                elif not self._seen.add(piece.number, named):
                    raise ResourceInvalid(TWICE, code="duplicate")
                yield from self._take(resource, piece.file, line=number)
            except ResourceInvalid as error:
                self._reject(piece.file, _explained(error, ID_HINT), line=number)
            if self._batch.is_full:
                yield self._batch.take()
        if digests:
            self._batch.seen.append((piece.number, bytes(digests)))

    def _document(self, piece: Document) -> Iterator[Parsed]:
        """One JSON document: a Bundle to take apart, or a resource."""
        try:
            text = minified(piece.text, depth_max=BUNDLE_DEPTH_MAX)
            if is_to_unpack(text):
                yield from self._bundle(piece.file, text)
            else:
                yield from self._take(self._prepared(text, None), piece.file)
        except ResourceInvalid as error:
            self._reject(piece.file, _explained(error, ID_HINT))

    def _bundle(self, file: str, text: bytes) -> Iterator[Parsed]:
        found = 0
        seen = SeenIds()
        for entry in unpack(text):
            found += 1
            if isinstance(entry, Skipped):
                self._reject(file, entry.reason, entry=entry.number)
                continue
            try:
                yield from self._entry(file, entry, seen)
            except ResourceInvalid as error:
                hint = "give it one, or a fullUrl with a urn:uuid"
                self._reject(file, _explained(error, hint), entry=entry.number)
            if self._batch.is_full:
                yield self._batch.take()
        if not found:
            self._batch.notices.append(f"{file}: the Bundle has no entries")

    def _entry(self, file: str, entry: Entry, seen: SeenIds) -> Iterator[Parsed]:
        resource = self._prepared(entry.body, entry.id)
        if not seen.add(resource.type, resource.id):
            raise ResourceInvalid(TWICE, code="duplicate")
        yield from self._take(resource, file, entry=entry.number)
        self._batch.unresolved += entry.unresolved

    def _prepared(self, raw: bytes, id: str | None) -> Prepared:
        rules = self._rules
        resource = prepare(
            raw, id=id, bytes_max=rules.resource_bytes_max, keep_source=rules.keep_source
        )
        if self._check is not None:
            issues = self._check(resource.unwritten_body)
            if issues:
                raise ResourceInvalid(_told(issues))
        return resource

    def _take(
        self, resource: Prepared, file: str, *, line: int | None = None, entry: int | None = None
    ) -> Iterator[Parsed]:
        """Put a resource into the batch, or first into the next one; or hold it back."""
        if is_conditional(resource):
            self._batch.held.append(
                Held(
                    file=file, line=line, entry=entry, type=resource.type, id=resource.id,
                    head=resource.head, tail=resource.tail,
                )
            )  # fmt: skip
            return
        if not self._batch.has_room(resource):
            yield self._batch.take()
        self._batch.resources.append(resource)
        self._batch.size_bytes += resource.size_bytes

    def _reject(
        self, file: str, error: str, *, line: int | None = None, entry: int | None = None
    ) -> None:
        self._batch.rejected.append(Rejected(file=file, line=line, entry=entry, error=error))


def is_conditional(resource: Prepared) -> bool:
    """Whether it refers to others by criteria. What a Bundle says is for its own entries."""
    if resource.type == "Bundle":
        return False
    return any(b"?" in part and CONDITIONAL.search(part) for part in (resource.tail, resource.head))


def _told(issues: Sequence[Issue]) -> str:
    """What is wrong with a resource, by element."""
    told = [
        f"{issue.expression}: {issue.diagnostics}" if issue.expression else issue.diagnostics
        for issue in issues[:ISSUES_TOLD]
    ]
    if len(issues) > ISSUES_TOLD:
        told.append(f"and {len(issues) - ISSUES_TOLD} more")
    return "; ".join(told)


def _explained(error: ResourceInvalid, id_hint: str) -> str:
    if error.expression == "Resource.id" and error.issue_code == "required":
        return f"{error}: {id_hint}"
    return str(error)
