"""What the sides of one tenant's store share."""

from dataclasses import dataclass

from backends.clock import StoreClock
from backends.sqlite.doors import Doors
from backends.sqlite.readers import Readers
from backends.sqlite.writer import Writer


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """One opened file."""

    id: str  # the store's: a restored or replaced one has another
    clock: StoreClock
    doors: Doors
    points: Readers  # for single reads
    scans: Readers  # for plans and streams; bounded in what a statement may build
    writer: Writer
