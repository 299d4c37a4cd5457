"""Failure: which one of the exceptions that ended a nursery decides what happens next."""

from collections.abc import Iterator

import trio

from engine.errors import (
    JobCancelled,
    LeaseLost,
    PartIncomplete,
    Permanent,
    Transient,
)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Every exception of a group, however nested; the error itself if it is none."""
    if isinstance(error, BaseExceptionGroup):
        for child in error.exceptions:
            yield from leaves(child)
    else:
        yield error


def decisive(error: BaseException) -> BaseException | None:
    """The exception that tells what to do. None if there is nothing but cancellation.

    Losing the job outranks all, because then nothing may be written. A channel whose other
    end went away is the echo of another failure, so it counts only if it is alone.
    """
    causes = [leaf for leaf in leaves(error) if not isinstance(leaf, trio.Cancelled)]
    return min(causes, key=_rank) if causes else None


def _rank(error: BaseException) -> int:
    if not isinstance(error, Exception):
        return 0  # KeyboardInterrupt and the like: not ours to handle
    if isinstance(error, (PartIncomplete, trio.BrokenResourceError)):
        return 9
    order = (JobCancelled, LeaseLost, Permanent)
    for rank, kind in enumerate(order, start=1):
        if isinstance(error, kind):
            return rank
    return 5 if isinstance(error, Transient) else 4
