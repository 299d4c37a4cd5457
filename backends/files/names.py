"""Where a part lies below the root: `{tenant_key}/{job}/{kind}/{Type}-{index}-{token}.ndjson[.gz]`.

Pure functions. The grammar is closed: a location that is read back has no way to say
`..`, an absolute path or an empty segment.
"""

import re
from typing import Literal, NamedTuple

from engine.errors import NotFound
from engine.model import FileKind, PartKey

Coding = Literal["", "gzip"]

TEMPORARY = ".tmp"
_SUFFIX: dict[str, str] = {"": "", "gzip": ".gz"}
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # no leading dot
_FILE = re.compile(
    r"[A-Z][A-Za-z]{1,63}-[1-9][0-9]{0,8}-(?P<token>[0-9]{1,19})"
    r"\.ndjson(?:\.gz)?(?P<temporary>\.tmp)?"
)
_KINDS = frozenset(str(kind) for kind in FileKind)


class Place(NamedTuple):
    """A directory of files of one kind, and a file in it."""

    tenant: str
    job: str
    kind: str
    file: str

    @property
    def folder(self) -> tuple[str, str, str]:
        return self.tenant, self.job, self.kind

    @property
    def location(self) -> str:
        return "/".join(self)


class FileName(NamedTuple):
    """What the name of a stored file tells."""

    token: int
    finished: bool


def place_of(key: PartKey, coding: Coding) -> Place:
    """Where this attempt at a part goes. The token keeps two owners of a job apart."""
    assert is_segment(key.tenant) and is_segment(key.job), "a key has a bad tenant or job"
    name = f"{key.type}-{key.index}-{key.token}.ndjson{_SUFFIX[coding]}"
    assert parse_name(name) is not None, "a key has a bad type, index or token"
    return Place(key.tenant, key.job, str(key.kind), name)


def parse_location(location: str) -> Place:
    """The place of a location that `place_of` made. Raises NotFound for any other text."""
    segments = location.split("/")
    if len(segments) == 4:
        place = Place(*segments)
        folders_known = is_segment(place.tenant) and is_segment(place.job) and place.kind in _KINDS
        if folders_known and parse_name(place.file) is not None:
            return place
    raise NotFound("there is no such output file")


def parse_name(name: str) -> FileName | None:
    """What a stored file's name tells; None if it is not one of ours."""
    match = _FILE.fullmatch(name)
    if match is None:
        return None
    return FileName(token=int(match["token"]), finished=match["temporary"] is None)


def is_segment(text: str) -> bool:
    """Whether a text can be the folder of a tenant or a job."""
    return _SEGMENT.fullmatch(text) is not None
