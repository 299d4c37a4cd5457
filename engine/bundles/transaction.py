"""Transaction: a Bundle whose entries are done all or not at all, made ready for a store."""

import copy
from collections.abc import Mapping, Sequence

import msgspec

from engine.bundles.criteria import CriteriaOrder, ParseCriteria
from engine.bundles.drafting import Draft, Drafter
from engine.bundles.entry import Entry, EntryFailed, naming
from engine.bundles.names import Answers
from engine.errors import NotSupported


class TransactionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one transaction."""

    deletes_max: int  # resources that one conditional delete may delete
    resource_bytes_max: int


class Transaction:
    """The entries of one Bundle with their resources drafted. Never changed."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        drafter: Drafter,
        parse: ParseCriteria,
        limits: TransactionLimits,
    ) -> None:
        """Pure; takes time by the size of the Bundle. Raises EntryFailed."""
        self.entries = entries
        self.drafter = drafter
        self.parse = parse
        self.limits = limits
        # What conditional references probably mean, as Type/id.
        self.guesses: Mapping[str, str] = {}
        self.order = CriteriaOrder(entries, drafter.placeholders)
        self.drafts: dict[int, Draft] = {}
        for entry in entries:
            if entry.operation or (entry.reads and entry.url.startswith("$")):
                raise EntryFailed(entry.number, _no_operation())
            if entry.text and entry.number not in drafter.same:
                self.drafts[entry.number] = self._draft(entry)
        self._check_criteria()

    def guessing(self, guesses: Mapping[str, str]) -> "Transaction":
        """The same, what has conditional references drafted by these guesses."""
        guessed = copy.copy(self)
        guessed.guesses = guesses
        guessed.drafts = self.drafts | {
            number: guessed._draft(self.entries[number])
            for number, draft in self.drafts.items()
            if not draft.conditional.isdisjoint(guesses)
        }
        return guessed

    def _draft(self, entry: Entry) -> Draft:
        return self.drafter.draft(entry, Answers(self.drafter.names, self.guesses))

    @property
    def conditional(self) -> frozenset[str]:
        """All conditional references of its resources."""
        return frozenset(link for draft in self.drafts.values() for link in draft.conditional)

    @property
    def size_bytes(self) -> int:
        """What will be written, about."""
        return sum(len(entry.text) for entry in self.entries)

    def _check_criteria(self) -> None:
        """Refuse criteria that cannot be understood before a store is bothered with them."""
        for entry in self.entries:
            if entry.criteria and entry.number not in self.drafter.same:
                with naming(entry.number):
                    criteria = self.order.resolved(entry.criteria, self.drafter.names)
                    self.parse(entry.type, criteria)


def _no_operation() -> NotSupported:
    return NotSupported(
        "a transaction takes no operations: send them one by one, or in a batch",
        expression="Bundle.entry.request.url",
    )
