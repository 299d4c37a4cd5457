"""Turns the operating system's errors into ours, at the border (STYLE 7).

The message names neither path nor content: it may reach a client.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import NotFound, OutputFull, OutputUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# ELOOP and ENOTDIR: a link or a file lies where a folder should be, so ours is not there.
MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@contextmanager
def output_trouble(doing: str) -> Iterator[None]:
    """Raise OutputFull or OutputUnavailable for an OSError inside the block."""
    try:
        yield
    except OSError as error:
        raise _ours(doing, error) from error


@contextmanager
def missing_or_trouble(doing: str) -> Iterator[None]:
    """As output_trouble, and NotFound if the file is not there."""
    try:
        yield
    except OSError as error:
        if error.errno in MISSING:
            raise NotFound("the output file is gone") from error
        raise _ours(doing, error) from error


def _ours(doing: str, error: OSError) -> OutputUnavailable:
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    if error.errno in _FULL:
        return OutputFull(f"no space for output files while {doing}: {reason}")
    return OutputUnavailable(f"the output store failed while {doing}: {reason}")
