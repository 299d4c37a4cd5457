"""Finds the files to load and reads them in blocks, gzip or not."""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from isal import isal_zlib
from isal.igzip_lib import IsalError

from engine.errors import Permanent, StartupError

BLOCK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's code for gzip headers and the largest window
_GZIP_BYTES = 1 << 16
_DOCUMENT = ".json"
_LINES = (".ndjson", ".jsonl")


class SourceBroken(Permanent):
    """A file cannot be read any further; the message says why."""


class Source(msgspec.Struct, frozen=True):
    """A file to load."""

    path: Path
    size_bytes: int  # on disk; 0 if it has no size, as a pipe

    @property
    def is_document(self) -> bool:
        """One JSON document, such as a Bundle, and not one resource a line."""
        return _plain_suffix(self.path) == _DOCUMENT


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The files that are named, and those in the folders that are named, in sorted order.

    Folders give what ends in .ndjson, .jsonl or .json, with or without .gz. Raises
    StartupError for a path that is missing, unreadable or a folder with nothing to load.
    """
    found: list[Source] = []
    for path in paths:
        if not path.exists():
            raise StartupError(f"{path}: there is no such file or folder")
        inside = list(_walk(path)) if path.is_dir() else [path]
        if not inside:
            raise StartupError(f"{path}: holds no .ndjson, .jsonl or .json file, gzipped or not")
        for file in inside:
            if not os.access(file, os.R_OK):
                raise StartupError(f"{file}: may not be read by this user")
            found.append(Source(file, file.stat().st_size))
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_file() and _plain_suffix(path) in (_DOCUMENT, *_LINES):
            yield path


def _plain_suffix(path: Path) -> str:
    """The suffix under a .gz, in lower case."""
    name = path.name.lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


class SourceReader:
    """One file, read from the beginning to the end."""

    def __init__(self, source: Source) -> None:
        self._path = source.path
        self.position_bytes = 0  # how far into the file on disk it has been read

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks of at most BLOCK_BYTES, decompressed.

        All that a truncated gzip file holds comes before the error. Raises SourceBroken.
        """
        try:
            with open(self._path, "rb") as file:
                yield from _gunzipped(self._read(file)) if _is_gzip(file) else self._read(file)
        except IsalError:  # type: ignore[misc]  # its stub declares a value, not a class
            raise SourceBroken("the gzip file is damaged from here on") from None
        except OSError as error:
            raise SourceBroken(f"cannot be read: {error.strerror or 'input error'}") from None

    def _read(self, file: io.BufferedReader) -> Iterator[bytes]:
        while block := file.read1(BLOCK_BYTES):
            self.position_bytes += len(block)
            yield block


def _is_gzip(file: io.BufferedReader) -> bool:
    return file.peek(len(_GZIP))[: len(_GZIP)] == _GZIP


def _gunzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """What gzip members, one after the other, hold. However well they are packed, it comes
    in small blocks."""
    member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
    for block in blocks:
        # A few at a time: what is decompressed in one call with a damaged byte is lost.
        for at in range(0, len(block), _GZIP_BYTES):
            rest = block[at : at + _GZIP_BYTES]
            while rest:
                if member.eof:
                    rest = rest.lstrip(b"\0")  # padding, as gzip allows
                    if not rest:
                        break
                    member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
                if data := member.decompress(rest, BLOCK_BYTES):
                    yield data
                rest = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        if data := member.flush():
            yield data
        raise SourceBroken("the gzip file ends too early: the rest of it is missing")
