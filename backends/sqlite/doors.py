"""The doors of tenants' files: a limiter for each kind of work, so that none waits for another.

Shared by all tenants of a process.
"""

from dataclasses import dataclass

import trio

from backends.door import Door, InlineDoor, ThreadDoor


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Ways to blocking calls, by what waits behind them."""

    read: Door  # single reads: milliseconds
    search: Door  # queries: milliseconds, but for some that count
    scan: Door  # plans and streams of exports
    write: Door  # one call at a time per tenant: its writer
    upkeep: Door  # checkpoints


def thread_doors(
    *,
    reads_max: int = 8,
    searches_max: int = 8,
    scans_max: int = 8,
    writes_max: int = 8,
    upkeep_max: int = 4,
) -> Doors:
    """For production. Made inside a run of trio."""
    return Doors(
        read=ThreadDoor(trio.CapacityLimiter(reads_max)),
        search=ThreadDoor(trio.CapacityLimiter(searches_max)),
        scan=ThreadDoor(trio.CapacityLimiter(scans_max), bulk=True),
        write=ThreadDoor(trio.CapacityLimiter(writes_max)),
        upkeep=ThreadDoor(trio.CapacityLimiter(upkeep_max), bulk=True),
    )


def inline_doors() -> Doors:
    """For tests on virtual time: no thread, one door."""
    door = InlineDoor()
    return Doors(read=door, search=door, scan=door, write=door, upkeep=door)
