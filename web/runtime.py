"""Runtime: how the interpreter and the C library share their things among threads.

By default glibc gives each thread a heap of its own. A batch is read in one thread and freed
in another, so every heap grows to hold some, and none gives them back: measured during an
export, 137 MiB at the peak where one heap took 88 MiB, and a sixth more system time.

By default Python lets a busy thread keep the interpreter for 5 ms when another wants it. A
thread in SQLite wants it for a moment after each statement: measured with 0.1 ms, a load
takes in a third more.

By default Python looks for rings among all objects after every few hundred new ones. A request
makes about as many, and what a server has read at its start (the definitions) is never garbage:
measured with that left aside and with fewer looks, a request takes 4 % less time.
"""

import ctypes
import gc
import sys

from engine.limits import MIB

NEW_OBJECTS_MAX = 20_000  # between two looks; a few MB

# From <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

SWITCH_SECONDS = 0.0001
HEAPS_MAX = 1
# Freed batches are kept for the next ones: mapping each anew costs a page fault per 4 KiB.
KEPT_BYTES = 32 * MIB


def set_up_runtime() -> None:
    """Call before any thread is started."""
    sys.setswitchinterval(SWITCH_SECONDS)
    _share_one_heap()


def spare_collector() -> None:
    """Call once everything that stays is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_MAX, 20, 100)


def _share_one_heap() -> None:
    """Does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in (
        (_M_ARENA_MAX, HEAPS_MAX),
        (_M_TRIM_THRESHOLD, KEPT_BYTES),
        (_M_MMAP_THRESHOLD, KEPT_BYTES),
    ):
        mallopt(option, value)
