"""Imports point one way: web -> engine <- backends, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "backends", "web")

# What each package may import of ours.
ALLOWED = {
    "engine": {"engine"},
    "backends": {"backends", "engine"},
    "web": {"web", "backends", "engine"},
}
# Only these open backends, or look at what is special about one.
OPENERS = {"web.compose", "web.cli.doctor"}
# What a library outside of these folders would tie the engine or the web to.
DRIVERS = {"apsw": {"backends.sqlite", "web.cli.doctor"}, "quart": {"web"}, "hypercorn": {"web"}}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """The modules that a file imports; with `only_at_import`, those outside of functions."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        if not (only_at_import and isinstance(node, functions)):
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_only_what_it_may(package):
    for name, path in MODULES.items():
        if name.split(".")[0] != package:
            continue
        ours = {one.split(".")[0] for one in imports(path)} & {*PACKAGES, "tests", "bench"}
        assert ours <= ALLOWED[package], f"{name} imports {ours - ALLOWED[package]}"


def test_only_the_composition_root_opens_backends():
    for name, path in MODULES.items():
        if name.startswith("web") and name not in OPENERS:
            reached = [
                one
                for one in imports(path)
                if one.split(".")[0] == "backends" and one != "backends.door"
            ]
            assert not reached, f"{name} imports {reached}"


def test_drivers_stay_where_they_belong():
    for name, path in MODULES.items():
        for one in imports(path):
            driver = one.split(".")[0]
            homes = DRIVERS.get(driver)
            if homes is not None:
                inside = any(name == home or name.startswith(home + ".") for home in homes)
                assert inside, f"{name} imports {driver}"


def test_no_module_imports_itself_by_a_detour():
    graph = {
        name: {one for one in imports(path, only_at_import=True) if one in MODULES and one != name}
        for name, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("circle: " + " -> ".join(reversed(error.args[1])))
