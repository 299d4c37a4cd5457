"""Transaction: a Bundle whose entries are done all or not at all, made ready for a store."""

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
        guesses: Mapping[str, str] | None = None,
    ) -> None:
        """Pure; takes time by the size of the Bundle. `guesses`: what conditional references
        probably mean, as Type/id. Raises EntryFailed."""
        self.entries = entries
        self.drafter = drafter
        self.parse = parse
        self.limits = limits
        self.guesses = guesses or {}
        self.order = CriteriaOrder(entries, drafter.placeholders)
        self.drafts: dict[int, Draft] = {}
        answers = Answers(drafter.names, self.guesses)
        for entry in entries:
            if entry.operation:
                raise EntryFailed(entry.number, _no_operation())
            if entry.text and entry.number not in drafter.same:
                self.drafts[entry.number] = drafter.draft(entry, answers)
        self._check_criteria()

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
