"""What may get into a log (stated in web/logs.py)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from web.logs import FIELDS, configure_logs, name_exception, only_known_fields

ROOT = Path(__file__).resolve().parents[2]
METHODS = frozenset({"debug", "info", "warning", "error", "bind"})
SECRET = "the name of a patient"


def is_log(node: ast.expr) -> bool:
    """`log`, `self._log` and the like."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("log", "_log")


def logged_fields(source: str) -> Iterator[str]:
    """The names of the fields in every `log.info(...)` and the like."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if is_log(node.func.value):
            assert node.func.attr in METHODS
            yield from (keyword.arg or "**" for keyword in node.keywords)


def test_every_field_that_the_program_logs_is_on_the_list() -> None:
    files = [file for top in ("engine", "web", "backends") for file in (ROOT / top).rglob("*.py")]
    used = {field for file in files for field in logged_fields(file.read_text())}
    assert {"job", "delay_s", "missing"} <= used  # also those of bound loggers
    assert used - {"exc_info"} <= FIELDS


def test_a_field_that_is_not_on_the_list_does_not_reach_the_log() -> None:
    event = only_known_fields(None, "info", {"event": "x", "job": "1", "body": SECRET})
    assert event == {"event": "x", "job": "1", "dropped": ["body"]}


def test_an_exception_is_told_by_its_type_and_place_and_not_by_its_text() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        event = name_exception(None, "error", {"event": "x", "exc_info": error})
    assert event["error"] == "ValueError"
    assert event["where"][-1].startswith("web/test_logs.py:")
    assert SECRET not in str(event)
    assert only_known_fields(None, "error", dict(event)) == event


@pytest.mark.parametrize("form", ["text", "json"])
def test_events_go_to_standard_error_from_the_level_on(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = structlog.get_config()
    try:
        configure_logs("warning", form)
        log = structlog.get_logger()
        log.info("unheard")
        log.warning("heard", job="1", body=SECRET)
    finally:
        structlog.configure(**before)
    written = capsys.readouterr()
    assert written.out == ""
    assert "unheard" not in written.err
    assert "heard" in written.err
    assert SECRET not in written.err
