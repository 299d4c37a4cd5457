"""The names of export files in URLs: the last segment, unique within a job (D14).

`Patient-1.ndjson` is an output file; the other kinds come first in their names:
`error-OperationOutcome-1.ndjson`, `deleted-Bundle-1.ndjson`. A name is looked up, and
never becomes part of a path.
"""

import re
from typing import Protocol

from engine.errors import NotFound
from engine.model import FileKind

_NAME = re.compile(
    r"(?:(?P<kind>error|deleted)-)?(?P<type>[A-Z][A-Za-z]{1,63})-(?P<index>[1-9][0-9]{0,8})\.ndjson"
)


class Named(Protocol):
    """What a name is made of: a planned part, a recorded one or its key."""

    @property
    def kind(self) -> FileKind: ...

    @property
    def type(self) -> str: ...

    @property
    def index(self) -> int: ...


def file_name(part: Named) -> str:
    """The name of a part's file, such as `Patient-1.ndjson`."""
    kind = "" if part.kind is FileKind.OUTPUT else f"{part.kind}-"
    return f"{kind}{part.type}-{part.index}.ndjson"


def parse_file_name(text: str) -> tuple[FileKind, str, int]:
    """Kind, type and index of a file's name. Raises NotFound: no file is called anything else."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise NotFound("there is no such file; the manifest lists the files of an export")
    return FileKind(match["kind"] or FileKind.OUTPUT), match["type"], int(match["index"])
