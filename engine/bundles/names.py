"""Names: what the fullUrls of a transaction stand for, and what its links become.

Sources: FHIR R4 bundle.html#references (how a link finds its entry) and http.html#trules (what
it is replaced with).
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from engine.bundles.entry import Entry, EntryFailed, Method
from engine.errors import BadRequest
from engine.fhir.ids import ID_PATTERN, TYPE_PATTERN
from engine.fhir.references import LinkKind

MARKS_MAX = 32  # of one transaction; more would be slower than to look at every link

_RESTFUL = re.compile(rf"(?P<root>.+)/(?P<name>{TYPE_PATTERN}/{ID_PATTERN})")
_RELATIVE = re.compile(rf"{TYPE_PATTERN}/{ID_PATTERN}")
_VERSIONED = re.compile(r"(?P<url>.+)/_history/(?P<version>[^/]+)")
_CONDITIONAL = re.compile(r"[A-Z][A-Za-z]{0,63}\?.")
_ANY_LINK = (b'"',)


class Placeholders:
    """The fullUrls of the entries that write a resource. Never changed."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Raises EntryFailed if two entries have one fullUrl."""
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            if not entry.full_url or entry.method is Method.DELETE:
                continue
            first = self._entries.setdefault(entry.full_url, entry)
            if first is not entry:
                raise EntryFailed(
                    entry.number,
                    BadRequest(
                        f"its fullUrl is also that of {first.label}",
                        expression=f"{entry.label}.fullUrl",
                    ),
                )
        self.marks = _marks(self._entries)

    def find(self, link: str, root: str) -> Entry | None:
        """The entry that a link means; `root` is that of the fullUrl it is found under."""
        entry = self._entries.get(link)
        if entry is None and root and _RELATIVE.fullmatch(link):
            entry = self._entries.get(f"{root}/{link}")
        return entry


def root_of(entry: Entry) -> str:
    """What relative links in the resource of an entry are relative to; "" if nothing is known."""
    match = _RESTFUL.fullmatch(entry.full_url)
    return "" if match is None else match["root"]


def is_conditional(link: str) -> bool:
    """Whether a reference is a search, such as Patient?identifier=..."""
    return "?" in link and _CONDITIONAL.match(link) is not None


class Answers(msgspec.Struct, frozen=True):
    """What only the store knows, as far as it was asked."""

    names: Sequence[str]  # by number of entry: what it writes or finds, as Type/id
    matches: Mapping[str, str] = {}  # by conditional reference, as Type/id
    versions: Mapping[str, int] = {}  # by Type/id, after the transaction


class Links:
    """Replaces the links of one resource, and notes what that depends on."""

    def __init__(self, placeholders: Placeholders, entry: Entry, answers: Answers) -> None:
        self._placeholders = placeholders
        self._root = root_of(entry)
        self._answers = answers
        self.entries: set[int] = set()  # that decide what a link becomes
        self.unanswered: set[str] = set()  # conditional references
        self.conditional: set[str] = set()  # all of them
        self.unversioned: set[str] = set()  # Type/id whose version has to be known
        self.versioned = False  # whether there is any such

    def __call__(self, link: str, kind: LinkKind) -> str | None:
        """What a link becomes; None: it stays, or must wait for an answer."""
        if kind is not LinkKind.ADDRESS and is_conditional(link):
            return self._match(link)
        plain, hash, fragment = link.partition("#")
        target = self._target(plain, kind)
        if target is None and kind is LinkKind.VERSIONED and _RELATIVE.fullmatch(plain):
            target = self._at_version(plain)  # it is no entry of the transaction
        return None if target is None or target == plain else target + hash + fragment

    def _match(self, link: str) -> str | None:
        self.conditional.add(link)
        found = self._answers.matches.get(link)
        if found is None:
            self.unanswered.add(link)
        return found

    def _target(self, link: str, kind: LinkKind) -> str | None:
        entry = self._placeholders.find(link, self._root)
        if entry is None:
            return self._of_version(link, kind)
        if kind is LinkKind.ADDRESS and _keeps_address(entry):
            return None
        self.entries.add(entry.number)
        name = self._answers.names[entry.number]
        return self._at_version(name) if kind is LinkKind.VERSIONED else name

    def _of_version(self, link: str, kind: LinkKind) -> str | None:
        """A reference to a version of what gets a new id here can only mean the new one."""
        match = _VERSIONED.fullmatch(link)
        if match is None or kind is LinkKind.ADDRESS:
            return None
        entry = self._placeholders.find(match["url"], self._root)
        if entry is None or _keeps_address(entry):
            return None
        self.entries.add(entry.number)
        return self._at_version(self._answers.names[entry.number])

    def _at_version(self, name: str) -> str | None:
        self.versioned = True
        version = self._answers.versions.get(name)
        if version is None:
            self.unversioned.add(name)
            return None
        return f"{name}/_history/{version}"


def _keeps_address(entry: Entry) -> bool:
    """Whether a fullUrl goes on to be the address of the resource for others: then only
    references are made local, and what else is written with it means the address itself."""
    return bool(entry.id) and not entry.criteria and not entry.full_url.startswith("urn:")


def _marks(entries: Mapping[str, Entry]) -> tuple[bytes, ...]:
    """Texts one of which is in every link that may have to be replaced."""
    marks = set()
    for url in entries:
        stem = url[: max(url.rfind(":"), url.rfind("/")) + 1]
        marks.add(stem or url)
        match = _RESTFUL.fullmatch(url)
        if match is not None:
            marks.add(match["name"].partition("/")[0] + "/")
    return tuple(mark.encode() for mark in sorted(marks)) if len(marks) <= MARKS_MAX else _ANY_LINK
