"""The documents point at what exists, and name every command."""

import re
from pathlib import Path

import pytest

from web.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in LINK.findall(path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_readme_lists_every_command():
    text = (ROOT / "README.md").read_text()
    for name, (_, meaning) in COMMANDS.items():
        assert re.search(rf"^    penstock {name} +\S", text, re.MULTILINE), name
        assert meaning.rstrip(".").lower() in text.lower(), name


def test_architecture_names_files_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for target in re.findall(r"`((?:engine|web|backends)/[\w/.]+)`", text):
        assert (ROOT / target).exists(), target
