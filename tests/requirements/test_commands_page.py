"""docs/commands.md says what the commands do."""

import re
from pathlib import Path

import click
import pytest

from engine.fhir.ids import SOURCE_UPDATED_URL, SOURCE_VERSION_URL
from web.cli.loading.parsing import DOCUMENT_BYTES_MAX
from web.cli.loading.report import SHOWN_MAX
from web.cli.options import Exit
from web.main import COMMANDS, penstock

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
# On every command, and on docs/settings.md.
COMMON = {"--config", "--store", "--output", "--set", "--json", "--help"}


def section(command: str) -> str:
    match = re.search(rf"^## penstock {command}$(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, command
    return match[1]


@pytest.mark.parametrize("name", ["load", "export", "reindex"])
def test_every_option_is_on_the_page(name: str) -> None:
    command = penstock.get_command(click.Context(penstock), name)
    assert command is not None
    options = {option for param in command.params for option in param.opts if option[:2] == "--"}
    named = set(re.findall(r"--[a-z][a-z-]+", section(name)))
    assert options - COMMON - {"--tenant"} <= named
    assert named <= options


def test_every_command_that_does_something_has_a_section() -> None:
    for name in COMMANDS:
        assert name == "version" or section(name)


def test_every_exit_status_is_on_the_page() -> None:
    assert {int(n) for n in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == {*map(int, Exit)}


def test_limits_and_names_are_those_of_the_program() -> None:
    assert f"at most {DOCUMENT_BYTES_MAX >> 20} MiB" in PAGE
    assert f"The first {SHOWN_MAX} are shown" in PAGE
    for url in (SOURCE_VERSION_URL, SOURCE_UPDATED_URL):
        assert f"`{url}`" in section("load")
