"""Starts write-out of what was just written, so that no commit waits behind a whole part.

The kernel alone would keep up to a fifth of the memory dirty, and the fsync at the end
of a part would write it all. This only starts the work; durability is fsync's.
"""

import ctypes
import errno
import os
from collections.abc import Callable

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: start write-out of dirty pages, do not wait
_UNKNOWN = frozenset({errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP})


def _find() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):  # not Linux, or a libc without it
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


_sync_file_range = _find()


def start_write_out(fd: int, start: int, stop: int) -> None:
    """Ask the kernel to begin writing bytes start to stop. Where it cannot be asked, nothing
    happens and fsync has more to do. Raises OSError if the file is in trouble."""
    if _sync_file_range is None or _sync_file_range(fd, start, stop - start, _WRITE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNKNOWN:
        raise OSError(number, os.strerror(number))
