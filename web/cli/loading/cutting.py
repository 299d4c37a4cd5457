"""Cuts files into pieces of text, each as much as a batch, for whoever parses them.

Blocking, and free of trio. Only looks for the ends of lines: what a line holds is for parsing.
"""

from collections.abc import Generator, Iterator, Sequence

import msgspec

from engine.errors import ResourceInvalid, ResourceTooLarge
from engine.limits import MIB
from web.cli.loading.sources import Source, SourceBroken, SourceReader

CUT_BYTES = 3 * MIB // 2  # a commit's fsync is shared by so much
CUT_ROWS = 1_000  # from here on a store can describe the batch as one extent
CUT_BYTES_MAX = 3 * MIB
LOOK_BYTES = 8 * MIB  # input after which progress is told, whatever was found
DOCUMENT_BYTES_MAX = 64 * MIB  # of one .json file; NDJSON has no such bound

LINES_HINT = "a file of one resource a line must be called .ndjson or .jsonl"


class Rejected(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that was not taken in. Holds no content of it."""

    file: str
    line: int | None = None  # of an NDJSON file, from 1
    entry: int | None = None  # of a Bundle, from 1
    error: str


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Whole lines of an NDJSON file."""

    number: int  # of the file, in the load
    file: str
    first: int  # number of the first line
    text: bytes


class Document(msgspec.Struct, frozen=True, tag=True):
    """A whole .json file."""

    file: str
    text: bytes


Piece = Lines | Document | Rejected


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What is parsed at one go: of several files, where they are small. Any of it may be empty."""

    pieces: list[Piece] = []
    notices: list[str] = []  # what is odd about a file, with nothing lost
    bytes_read: int = 0  # on disk

    @property
    def has_documents(self) -> bool:
        """Then it has no lines."""
        return any(isinstance(piece, Document) for piece in self.pieces)


def cut(sources: Sequence[Source], *, line_bytes_max: int) -> Generator[Cut, None, None]:
    """All files in turn. Memory: one cut, one line and one block, or one document."""
    pending = _Pending()
    for number, source in enumerate(sources):
        reader = SourceReader(source)
        if source.is_document:
            if pending.lines:
                yield pending.take()
            pending.document(source, reader)
            pending.bytes_read += source.size_bytes
            if pending.is_full:
                yield pending.take()
            continue
        if not pending.lines and pending.pieces:
            yield pending.take()
        cutter = _LineCutter(number, source, reader, pending, line_bytes_max)
        yield from cutter.run()
        pending.bytes_read += max(source.size_bytes - cutter.told_bytes, 0)
    yield pending.take()


class _Pending:
    """What has been read and not handed on yet."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.pieces: list[Piece] = []
        self.notices: list[str] = []
        self.lines = self.size_bytes = self.bytes_read = 0

    @property
    def is_full(self) -> bool:
        if self.size_bytes >= CUT_BYTES_MAX or len(self.pieces) >= CUT_ROWS:
            return True
        return self.size_bytes >= CUT_BYTES and (self.lines >= CUT_ROWS or not self.lines)

    def document(self, source: Source, reader: SourceReader) -> None:
        file = str(source.path)
        try:
            text = _whole(reader)
        except (ResourceInvalid, SourceBroken) as error:
            self.pieces.append(Rejected(file=file, error=str(error)))
            return
        if not text.strip():
            self.notices.append(f"{file}: the file is empty")
            return
        self.pieces.append(Document(file, text))
        self.size_bytes += len(text)

    def take(self) -> Cut:
        taken = Cut(pieces=self.pieces, notices=self.notices, bytes_read=self.bytes_read)
        self._clear()
        return taken


def _whole(reader: SourceReader) -> bytes:
    blocks: list[bytes] = []
    size = 0
    for block in reader.blocks():
        size += len(block)
        if size > DOCUMENT_BYTES_MAX:
            raise ResourceInvalid(
                f"longer than the limit of {DOCUMENT_BYTES_MAX} bytes for one JSON document; "
                + LINES_HINT,
                code="too-long",
            )
        blocks.append(block)
    return b"".join(blocks)


class _LineCutter:
    """One NDJSON file on its way into cuts."""

    def __init__(
        self, number: int, source: Source, reader: SourceReader, pending: _Pending, line_max: int
    ) -> None:
        self._number = number
        self._file = str(source.path)
        self._reader = reader
        self._pending = pending
        self._line_max = line_max
        self._line = 1  # that begins next, or has begun
        self._begun: list[bytes] = []  # of a line that has not ended
        self._begun_bytes = 0
        self._blank = True
        self.told_bytes = 0  # of this file, in some cut

    def run(self) -> Iterator[Cut]:
        try:
            for block in self._reader.blocks():
                self._take(block)
                if self._pending.is_full or self._is_far():
                    yield self._hand_on()
            self._end_lines(b"")
        except SourceBroken as error:
            self._reject(str(error))
            return
        if self._blank:
            self._pending.notices.append(f"{self._file}: the file is empty")

    def _take(self, block: bytes) -> None:
        """Hand on the lines that end in a block, and keep what begins after them."""
        end = block.rfind(b"\n")
        if end >= 0:
            self._end_lines(block[:end])
            self._line += 1
            block = block[end + 1 :]
        self._begun_bytes += len(block)
        if self._begun_bytes <= self._line_max + 1:  # for the carriage return that may end it
            self._begun.append(block)
        else:
            self._begun = []  # too long, and not kept

    def _end_lines(self, text: bytes) -> None:
        """What has begun goes on, and ends, with this text."""
        if self._begun_bytes and not self._begun:
            self._blank = False
            self._reject(str(ResourceTooLarge(self._line_max)))
            newline = text.find(b"\n")
            text = b"" if newline < 0 else text[newline + 1 :]
            self._line += newline >= 0
        else:
            text = b"".join([*self._begun, text])
        self._begun, self._begun_bytes = [], 0
        if not text:
            return
        if self._blank:
            self._blank = not text.strip(b" \t\r\n")
        pending = self._pending
        pending.pieces.append(Lines(self._number, self._file, self._line, text))
        lines = text.count(b"\n")
        pending.lines += lines + 1
        pending.size_bytes += len(text)
        self._line += lines

    def _reject(self, error: str) -> None:
        self._pending.pieces.append(Rejected(file=self._file, line=self._line, error=error))

    def _is_far(self) -> bool:
        return self._reader.position_bytes - self.told_bytes >= LOOK_BYTES

    def _hand_on(self) -> Cut:
        position = self._reader.position_bytes
        self._pending.bytes_read += max(position - self.told_bytes, 0)
        self.told_bytes = max(position, self.told_bytes)
        return self._pending.take()
