"""Runs async code that waits for nothing: the work of a change, whose session never waits."""

from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def complete(work: Coroutine[object, None, T]) -> T:
    """Run it to its end, here and now: nothing happens in between, in no thread but this one."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        work.close()  # nothing, unless it still waits
    raise AssertionError("the work of a transaction waited for something else than its session")
