"""Logs: one line per event, with fields from a list that is known to hold no content.

A request is logged by its route and not by its path or query, which name patients.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# What an event may carry. Another field is dropped, and its name is logged instead, so
# that a body or a query can not get into a log by an oversight.
FIELDS = frozenset(
    """
    event level timestamp actor address attempt bytes changed command count delay_s error files
    job jobs kind location looked method milliseconds missing name part parts reason request route
    rows setting signal status store task tenant token type version where worker
    """.split()  # noqa: SIM905
)
FRAMES_MAX = 12


def configure_logs(level: str, form: Literal["text", "json"]) -> None:
    """Send our events, and warnings of the libraries, to standard error."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_exception,
            only_known_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries may put what they were given into their messages.
    logging.basicConfig(level=logging.CRITICAL)


def name_exception(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Tell an exception by its type and its place, as its text may quote content."""
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event.update(error=type(error).__name__, where=frames(error))
    return event


def only_known_fields(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop the fields that are not on the list, and say which."""
    unknown = sorted(set(event) - FIELDS)
    for name in unknown:
        del event[name]
    if unknown:
        event["dropped"] = unknown
    return event


def frames(error: BaseException) -> list[str]:
    """Where an error came from, without what it says: a message may quote content."""
    leaf = error
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    stack = traceback.extract_tb(leaf.__traceback__)[-FRAMES_MAX:]
    return [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in stack]


def _module(path: str) -> str:
    return "/".join(path.split("/")[-2:])
