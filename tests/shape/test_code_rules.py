"""Rules of the code's own structure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "backends", "web", "bench")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70
VIRTUAL_TIME = ("autojump", "MockClock", "VirtualClock", "tests.support.plant", "tests.simulation")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text()))


def called(node: ast.AST) -> str:
    """What a call calls, as it is written: `trio.sleep`."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_fits_its_room(path):
    lines = path.read_text().count("\n")
    assert lines <= MODULE_LINES_MAX, f"{name_of(path)} has {lines} lines: split it by job"
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_function_fits_a_screen(path):
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{name_of(path)}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree), name_of(path)


def test_no_test_waits_for_real_time():
    """Sleeping is for virtual time, which jumps; anything else waits on an event."""
    for path in TESTS:
        virtual = any(word in path.read_text() for word in VIRTUAL_TIME)
        for node in nodes(path):
            assert called(node) not in ("time.sleep", "sleep"), f"{name_of(path)}:{node.lineno}"
            if called(node) == "trio.sleep" and not virtual:
                # Giving way to the other tasks once is no waiting.
                assert ast.unparse(node.args[0]) == "0", f"{name_of(path)}:{node.lineno}"


def test_every_test_asserts_something():
    for path in TESTS:
        for node in nodes(path):
            kind = ast.FunctionDef | ast.AsyncFunctionDef
            if isinstance(node, kind) and node.name.startswith("test_"):
                checks = any(_is_check(inner) for inner in ast.walk(node))
                assert checks, f"{name_of(path)}: {node.name}"


def _is_check(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert | ast.Raise):
        return True
    words = called(node).split(".")[-1].lstrip("_")
    return words in ("raises", "fail", "fail_after") or words.startswith(
        ("assert", "check", "expect")
    )


def test_the_engine_takes_time_and_randomness_only_from_its_clock():
    """Outside of engine/clock.py: no clock of the system, no random number, no bare sleep."""
    taken = ("time.", "random.", "secrets.", "os.urandom", "uuid.", "datetime.now", "trio.sleep")
    for path in (ROOT / "engine").rglob("*.py"):
        if path.name == "clock.py":
            continue
        for node in nodes(path):
            assert not called(node).startswith(taken), f"{name_of(path)}: {called(node)}"


def test_tasks_start_only_in_nurseries():
    forbidden = ("trio.lowlevel.spawn_system_task", "asyncio.create_task", "threading.Thread")
    for path in SOURCES:
        if path.is_relative_to(ROOT / "bench"):
            continue  # its clients are not part of the program
        for node in nodes(path):
            assert not called(node).startswith(forbidden), f"{name_of(path)}: {called(node)}"


def test_no_handler_swallows_everything():
    """`except BaseException` or a bare `except` always raises again."""
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler):
                caught = "BaseException" if node.type is None else ast.unparse(node.type)
                if caught == "BaseException":
                    raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                    assert raises, f"{name_of(path)}:{node.lineno}"


def test_every_shield_has_a_deadline():
    bounded = ("trio.move_on_after", "trio.fail_after", "trio.move_on_at", "trio.fail_at")
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.Call) and any(word.arg == "shield" for word in node.keywords):
                deadline = any(word.arg == "deadline" for word in node.keywords)
                assert deadline or called(node) in bounded, f"{name_of(path)}:{node.lineno}"
