"""Turns files into batches of checked resources. Blocking, and free of trio."""

from collections.abc import Generator, Iterator, Sequence

import msgspec

from engine.errors import ResourceInvalid, ResourceTooLarge
from engine.fhir.body import minified, prepare
from engine.fhir.bundle import BUNDLE_DEPTH_MAX, Entry, Skipped, is_to_unpack, unpack
from engine.fhir.lines import split_lines
from engine.limits import MIB
from engine.model import Prepared
from web.cli.loading.seen import SeenIds
from web.cli.loading.sources import Source, SourceBroken, SourceReader

BATCH_BYTES = 3 * MIB // 2  # a commit's fsync is shared by so much
BATCH_ROWS = 1_000  # from here on a store can describe the batch as one extent
BATCH_BYTES_MAX = 4 * MIB  # what a store wants to take at once
LOOK_BYTES = 8 * MIB  # input after which progress is told, batch or no batch
DOCUMENT_BYTES_MAX = 64 * MIB  # of one .json file; NDJSON has no such bound
assert BATCH_BYTES < BATCH_BYTES_MAX

ID_HINT = "give it one, as NDJSON is stored under the ids that it brings"
LINES_HINT = "a file of one resource a line must be called .ndjson or .jsonl"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How resources are taken in."""

    resource_bytes_max: int
    keep_source: bool = False


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not taken in. Holds no content of it."""

    file: str
    line: int | None = None  # of an NDJSON file, from 1
    entry: int | None = None  # of a Bundle, from 1
    error: str


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read since the last one. Any of it may be empty."""

    resources: list[Prepared]
    rejected: list[Rejected]
    notices: list[str]  # what is odd about a file, with nothing lost
    conditional: int  # references such as Patient?identifier=...
    unresolved: int  # references to entries that their Bundle does not have
    bytes_read: int  # on disk


def parse(sources: Sequence[Source], rules: Rules) -> Generator[Parsed, None, None]:
    """All files in turn, in batches that may hold the end of one file and the next ones.

    Memory: one batch, one line, one block and 16 bytes for each resource of a file.
    """
    batch = _Batch()
    for source in sources:
        reader = SourceReader(source)
        parser = _FileParser(source, reader, rules, batch)
        parts = parser.document() if source.is_document else parser.lines()
        yield from parts
        batch.bytes_read += max(source.size_bytes - parser.told_bytes, 0)
    yield batch.take()


class _Batch:
    """What has been parsed and not handed on yet."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.resources: list[Prepared] = []
        self.rejected: list[Rejected] = []
        self.notices: list[str] = []
        self.size_bytes = self.conditional = self.unresolved = self.bytes_read = 0

    def has_room(self, resource: Prepared) -> bool:
        return not self.resources or self.size_bytes + resource.size_bytes <= BATCH_BYTES_MAX

    @property
    def is_full(self) -> bool:
        if len(self.rejected) >= BATCH_ROWS or self.size_bytes >= BATCH_BYTES_MAX:
            return True
        return self.size_bytes >= BATCH_BYTES and len(self.resources) >= BATCH_ROWS

    def add(self, resource: Prepared) -> None:
        self.resources.append(resource)
        self.size_bytes += resource.size_bytes

    def take(self) -> Parsed:
        taken = Parsed(
            resources=self.resources,
            rejected=self.rejected,
            notices=self.notices,
            conditional=self.conditional,
            unresolved=self.unresolved,
            bytes_read=self.bytes_read,
        )
        self._clear()
        return taken


class _FileParser:
    """One file on its way into batches."""

    def __init__(self, source: Source, reader: SourceReader, rules: Rules, batch: _Batch) -> None:
        self._file = str(source.path)
        self._reader = reader
        self._rules = rules
        self._batch = batch
        self._seen = SeenIds()
        self.told_bytes = 0  # of this file, in some batch's bytes_read

    def lines(self) -> Iterator[Parsed]:
        """One resource a line."""
        limit = self._rules.resource_bytes_max
        number = 0
        try:
            for line in split_lines(self._reader.blocks(), bytes_max=limit):
                number = line.number
                try:
                    if line.text is None:
                        raise ResourceTooLarge(limit)
                    yield from self._take(line.text, None)
                except ResourceInvalid as error:
                    self._reject(_explained(error, ID_HINT), line=number)
                if self._batch.is_full or self._is_far():
                    yield self._hand_on()
        except SourceBroken as error:
            self._reject(str(error), line=number + 1)
            return
        if number == 0:
            self._batch.notices.append(f"{self._file}: the file is empty")

    def document(self) -> Iterator[Parsed]:
        """One JSON document: a Bundle to take apart, or a resource."""
        try:
            raw = self._whole()
            if not raw.strip():
                self._batch.notices.append(f"{self._file}: the file is empty")
                return
            text = minified(raw, depth_max=BUNDLE_DEPTH_MAX)
            if is_to_unpack(text):
                yield from self._bundle(text)
            else:
                yield from self._take(text, None)
        except ResourceInvalid as error:
            self._reject(_explained(error, ID_HINT))
        except SourceBroken as error:
            self._reject(str(error))

    def _whole(self) -> bytes:
        blocks: list[bytes] = []
        size = 0
        for block in self._reader.blocks():
            size += len(block)
            if size > DOCUMENT_BYTES_MAX:
                raise ResourceInvalid(
                    f"longer than the limit of {DOCUMENT_BYTES_MAX} bytes for one JSON document; "
                    + LINES_HINT,
                    code="too-long",
                )
            blocks.append(block)
        return b"".join(blocks)

    def _bundle(self, text: bytes) -> Iterator[Parsed]:
        found = 0
        for entry in unpack(text):
            found += 1
            if isinstance(entry, Skipped):
                self._reject(entry.reason, entry=entry.number)
                continue
            try:
                yield from self._take_entry(entry)
            except ResourceInvalid as error:
                hint = "give it one, or a fullUrl with a urn:uuid"
                self._reject(_explained(error, hint), entry=entry.number)
            if self._batch.is_full:
                yield self._hand_on()
        if not found:
            self._batch.notices.append(f"{self._file}: the Bundle has no entries")

    def _take_entry(self, entry: Entry) -> Iterator[Parsed]:
        yield from self._take(entry.body, entry.id)
        self._batch.conditional += entry.conditional
        self._batch.unresolved += entry.unresolved

    def _take(self, raw: bytes, id: str | None) -> Iterator[Parsed]:
        """Check a resource and put it into the batch, or first into the next one."""
        rules = self._rules
        resource = prepare(
            raw, id=id, bytes_max=rules.resource_bytes_max, keep_source=rules.keep_source
        )
        if not self._seen.add(resource.type, resource.id):
            raise ResourceInvalid(
                "the file has a resource of this type and id already: only the first is loaded",
                code="duplicate",
            )
        if not self._batch.has_room(resource):
            yield self._hand_on()
        self._batch.add(resource)

    def _reject(self, error: str, *, line: int | None = None, entry: int | None = None) -> None:
        self._batch.rejected.append(Rejected(file=self._file, line=line, entry=entry, error=error))

    def _is_far(self) -> bool:
        return self._reader.position_bytes - self.told_bytes >= LOOK_BYTES

    def _hand_on(self) -> Parsed:
        position = self._reader.position_bytes
        self._batch.bytes_read += max(position - self.told_bytes, 0)
        self.told_bytes = max(position, self.told_bytes)
        return self._batch.take()


def _explained(error: ResourceInvalid, id_hint: str) -> str:
    if error.expression == "Resource.id" and error.issue_code == "required":
        return f"{error}: {id_hint}"
    return str(error)
