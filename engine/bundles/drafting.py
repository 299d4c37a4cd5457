"""Drafting: the resources of a transaction as they will be stored, as far as that can be known
before the store is asked.

Whoever creates on a condition is taken to create, with an id that is given out here: mostly it
is so. What was drafted on an assumption that does not hold is drafted again. Pure, for a thread.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from engine.bundles.entry import Entry, EntryFailed, Method, naming
from engine.bundles.names import Answers, Links, Placeholders
from engine.errors import BadRequest, Duplicate
from engine.fhir.members import is_object, members
from engine.fhir.references import LinkRewriter
from engine.interactions.intake import Intake
from engine.model import Prepared

# Where most resources have their id. One that has another besides is refused later.
_ID_SECOND = re.compile(rb'\{"resourceType":"[A-Za-z]*","id":(?P<id>"[^"\\]*")')


class Draft(msgspec.Struct, frozen=True):
    """The resource of one entry, and what it depends on."""

    resource: Prepared | None  # None: it waits for an answer
    entries: frozenset[int]  # whose identity it holds
    unanswered: frozenset[str]  # conditional references it waits for
    conditional: frozenset[str]  # all that it had
    unversioned: frozenset[str]  # Type/id whose version it waits for
    versioned: bool  # whether it holds or waits for any


class Drafter:
    """Drafts the entries of one transaction. Never changed."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        rewriter: LinkRewriter,
        intake: Intake,
        new_id: Callable[[], str],
    ) -> None:
        """Raises EntryFailed if two entries have one fullUrl, or are the same one twice."""
        self._rewriter = rewriter
        self._intake = intake
        self.placeholders = Placeholders(entries)
        self.same = _repeated(entries)
        self.ids = _ids(entries, self.same, new_id)
        self.names = tuple(
            f"{entry.type}/{id}" for entry, id in zip(entries, self.ids, strict=True)
        )

    def draft(self, entry: Entry, answers: Answers) -> Draft:
        """The resource of a POST or PUT under the name that `answers` has for the entry. Raises
        EntryFailed."""
        with naming(entry.number):
            return self.draft_text(entry, _with_id(entry, answers.names[entry.number]), answers)

    def draft_text(self, entry: Entry, text: bytes, answers: Answers) -> Draft:
        """As `draft`, of a text that is known to have its id. Raises what Intake raises."""
        links = Links(self.placeholders, entry, answers)
        text = self._rewriter.rewritten(entry.type, text, links, marks=self.placeholders.marks)
        resource = None
        if not (links.unanswered or links.unversioned):
            id = answers.names[entry.number].partition("/")[2]
            resource = self._intake.at(text, type=entry.type, id=id)
        return Draft(
            resource,
            frozenset(links.entries),
            frozenset(links.unanswered),
            frozenset(links.conditional),
            frozenset(links.unversioned),
            links.versioned,
        )


def _ids(
    entries: Sequence[Entry], same: Mapping[int, int], new_id: Callable[[], str]
) -> tuple[str, ...]:
    """The id of what each entry writes, as far as it is known; "" of those that write nothing."""
    ids: list[str] = []
    for entry in entries:
        if entry.number in same:
            ids.append(ids[same[entry.number]])
        elif entry.method is Method.POST or (entry.method is Method.PUT and not entry.id):
            ids.append(new_id())
        else:
            ids.append(entry.id)
    return tuple(ids)


def _repeated(entries: Sequence[Entry]) -> dict[int, int]:
    """Entries that say the same as an earlier one, and which that is: equal resources to be
    created on equal criteria. Raises EntryFailed for others that are of one resource."""
    same: dict[int, int] = {}
    firsts: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        if entry.reads or entry.operation or not (entry.id or entry.criteria):
            continue
        # Whether several criteria match one resource is only known in the store.
        keys = [(entry.type, "?", entry.criteria)] if entry.criteria else []
        if entry.id:
            keys.append((entry.type, "/", entry.id))
        for key in keys:
            first = firsts.setdefault(key, entry)
            if first is entry:
                continue
            if entry.method is first.method is Method.POST and entry.text == first.text:
                same[entry.number] = first.number
            else:
                raise EntryFailed(entry.number, duplicate(entry, first))
    return same


def duplicate(entry: Entry, first: Entry) -> Duplicate:
    """What is said of two entries that are of one resource."""
    return Duplicate(
        f"it is of the same resource as {first.label}: a transaction takes each only once",
        expression=f"{entry.label}.request.url",
    )


def _with_id(entry: Entry, name: str) -> bytes:
    """The text of an entry's resource, its id set if it has one; one without gets it later."""
    text = entry.text
    if not is_object(text):
        raise BadRequest("the resource is no object", expression=f"{entry.label}.resource")
    id = name.partition("/")[2].encode()
    usual = _ID_SECOND.match(text)
    if usual is not None:
        return b'%b"%b"%b' % (text[: usual.start("id")], id, text[usual.end("id") :])
    for member in members(text):
        if member.name == "id":
            return b'%b"%b"%b' % (text[: member.start], id, text[member.end :])
    return text
