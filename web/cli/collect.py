"""Collect: copies a finished export into a folder, and checks every byte on the way.

The files come first, `manifest.json` last: a folder with a manifest is whole.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import trio
from isal import isal_zlib

from engine.errors import BadRequest, OutputFull, OutputUnavailable, Permanent
from engine.export.filenames import file_name
from engine.export.manifest import manifest
from engine.model import ExportJob, FinalizedPart
from engine.ports import OutputStore

GZIP_LEVEL = 1
GZIP_WINDOW = 31  # zlib's way to say: a gzip header and trailer
PIECE_BYTES_MAX = 4 << 20  # of what is unpacked at a time
MANIFEST_NAME = "manifest.json"


class CopyDiffers(Permanent):
    """A file's bytes are not those that its job recorded."""


def prepare_folder(folder: Path) -> None:
    """Make the folder, or see that it is empty. Raises BadRequest, OutputUnavailable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise OutputUnavailable(f"cannot use the folder {folder}: {error.strerror}") from None
    if taken:
        raise BadRequest(f"the folder {folder} is not empty")


async def collect(
    outputs: OutputStore,
    job: ExportJob,
    parts: Sequence[FinalizedPart],
    folder: Path,
    *,
    gzip: bool,
) -> dict[str, Any]:
    """Copy the files of a complete job and its manifest, and return the manifest.

    Failed or cancelled: the folder is as empty as before. Raises CopyDiffers, OutputFull,
    OutputUnavailable.
    """
    suffix = ".gz" if gzip else ""
    written: list[Path] = []
    try:
        for part in parts:
            written.append(folder / (file_name(part) + suffix))
            await _copy(outputs, part, written[-1], gzip=gzip)
        facts = local_manifest(job, parts, suffix)
        written.append(folder / MANIFEST_NAME)
        await trio.to_thread.run_sync(_write_manifest, facts, written[-1])
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return facts


def local_manifest(job: ExportJob, parts: Sequence[FinalizedPart], suffix: str) -> dict[str, Any]:
    """The manifest with names of files beside it where a server's has URLs."""
    facts = manifest(job, parts, base="")
    for kind in ("output", "deleted", "error"):
        for item in facts[kind]:
            item["url"] = item["url"].rsplit("/", 1)[1] + suffix
    return facts


async def _copy(outputs: OutputStore, part: FinalizedPart, path: Path, *, gzip: bool) -> None:
    assert part.file is not None, "only parts that have a file are collected"
    stored_gzip = part.file.coding == "gzip"
    with Copy(path, unpack=stored_gzip, pack=gzip) as copy:
        async with outputs.read_part(part.file) as reader:
            while block := await reader.read():
                await trio.to_thread.run_sync(copy.append, block)
        await trio.to_thread.run_sync(copy.finish)
    if (copy.rows, copy.bytes, copy.sha256) != (part.rows, part.file.bytes, part.file.sha256):
        raise CopyDiffers(f"{path.name} is not what was recorded: the output store is damaged")


class Copy:
    """One file being written: counts and hashes the lines, whatever coding they have on
    either side. Blocking; raises OutputFull, OutputUnavailable, CopyDiffers."""

    def __init__(self, path: Path, *, unpack: bool, pack: bool) -> None:
        self.rows = 0
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._unpacker = isal_zlib.decompressobj(wbits=GZIP_WINDOW) if unpack else None
        self._packer = isal_zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW) if pack else None
        self._path = path
        self._file = self._open(path)

    def __enter__(self) -> "Copy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def append(self, block: bytes) -> None:
        """Take a block as it lies in the output store."""
        for piece in self._unpacked(block):
            self.rows += piece.count(b"\n")
            self.bytes += len(piece)
            self._hash.update(piece)
            self._write(piece if self._packer is None else self._packer.compress(piece))

    def finish(self) -> None:
        """Make it durable."""
        if self._packer is not None:
            self._write(self._packer.flush())
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputUnavailable(f"cannot write {self._path}: {error.strerror}") from None

    def _unpacked(self, block: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            yield block
            return
        try:
            while block:
                yield self._unpacker.decompress(block, PIECE_BYTES_MAX)
                block = self._unpacker.unconsumed_tail
        except isal_zlib.IsalError:  # type: ignore[misc] # its stub calls it a value
            raise CopyDiffers(f"the stored form of {self._path.name} is damaged") from None

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise OutputFull(f"cannot write {self._path}: {error.strerror}") from None

    @staticmethod
    def _open(path: Path) -> BinaryIO:
        try:
            return path.open("xb", buffering=0)
        except OSError as error:
            raise OutputUnavailable(f"cannot create {path}: {error.strerror}") from None


def _write_manifest(facts: dict[str, Any], path: Path) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the names of all files, not only of this one
        finally:
            os.close(folder)
    except OSError as error:
        raise OutputUnavailable(f"cannot write {path}: {error.strerror}") from None
