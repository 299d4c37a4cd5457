"""The hand-written cases: a file with resources, and a table of queries with what they find."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from tests.support import fhir_data
from tests.support.fhir_data import Step

FOLDER = Path(__file__).parent / "cases"
GONE = ("Patient", "p-gone")  # deleted after everything was written
REFUSED = "refused"
# In queries, for the sake of short lines.
URLS = {
    "LOINC": fhir_data.LOINC,
    "ACME": fhir_data.ACME,
    "MRN": fhir_data.MRN,
    "UCUM": fhir_data.UCUM,
    "TYPES": fhir_data.TYPES,
    "BASE": fhir_data.BASE,
}
_WORD = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(URLS)})(?=[|/])")


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    chapter: str
    line: str
    query: str
    found: tuple[str, ...]  # Type/id
    included: frozenset[str]
    ordered: bool
    refused: bool


def steps() -> Iterator[Step]:
    """What happened before the queries are asked."""
    for line in (FOLDER / "resources.ndjson").read_bytes().splitlines():
        head = msgspec.json.decode(line)
        yield Step(head["resourceType"], head["id"], line)
    yield Step(*GONE, None)


def cases() -> Iterator[Case]:
    """Every line of the table."""
    chapter = ""
    for line in (FOLDER / "cases.txt").read_text().splitlines():
        if line.startswith("## "):
            chapter = line.removeprefix("## ")
        elif line and not line.startswith("#"):
            yield _case(chapter, line)


def _case(chapter: str, line: str) -> Case:
    asked, arrow, answer = re.split(r" (=>>?)(?: |$)", line)
    query = quote(_WORD.sub(lambda word: URLS[word[1]], asked), safe="/?&=:|,$\\%'*[]")
    matches, _, included = answer.partition("+")
    type = asked.partition("?")[0].rpartition("/")[2]
    found = [one if "/" in one else f"{type}/{one}" for one in matches.split()]
    refused = answer.strip() == REFUSED
    return Case(
        chapter=chapter,
        line=line,
        query=query,
        found=() if refused else tuple(found),
        included=frozenset(included.split()),
        ordered=arrow == "=>>",
        refused=refused,
    )
