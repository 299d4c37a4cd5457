"""Execution: all entries of a transaction as one atomic change of a store.

Source: FHIR R4 http.html#trules. Deletions first; then every condition is answered by the state
they leave, so that the order of entries makes no difference; then creates, updates and patches;
then what waits for conditional references, which may mean a resource of the transaction; last,
what was answered is asked again, now that all is written.
"""

from collections.abc import Sequence

from engine.bundles.drafting import Draft, duplicate
from engine.bundles.entry import Entry, EntryFailed, Method, naming
from engine.bundles.names import Answers
from engine.bundles.transaction import Transaction
from engine.errors import MultipleMatches, NotFound, ReferenceUnresolved
from engine.fhir.search.tree import Query
from engine.interactions import write
from engine.interactions.effect import Done, Effect
from engine.interactions.matching import current, live, only_match, require_version
from engine.model import Prepared, Version
from engine.ports import WriteSession

_WRITING_ORDER = (Method.POST, Method.PUT, Method.PATCH)


async def execute(transaction: Transaction, session: WriteSession) -> tuple[Done | None, ...]:
    """Do everything, as the body of one `Transactions.transact`; what became of each entry, in
    their order, None of one that reads: it is answered afterwards. Raises EntryFailed."""
    return await _Execution(transaction, session).everything()


class _Execution:
    """One attempt. All that it learns is its own, since it may be made more than once."""

    def __init__(self, transaction: Transaction, session: WriteSession) -> None:
        self._transaction = transaction
        self._drafter = transaction.drafter
        self._session = session
        self._done: dict[int, Done] = {}  # by number of entry
        self._found: dict[int, Version] = {}  # by number: what its criteria matched
        self._names = list(transaction.drafter.names)
        self._moved: set[int] = set()  # entries that are of something else than was drafted
        self._claimed: dict[str, Entry] = {}  # by Type/id: who changes it
        self._matches: dict[str, str] = {}  # by conditional reference, as Type/id
        self._asked: dict[str, Entry] = {}  # by conditional reference: who has it, first
        self._versions: dict[str, int] = {}  # by Type/id, after the transaction

    async def everything(self) -> tuple[Done | None, ...]:
        entries = [e for e in self._transaction.entries if e.number not in self._drafter.same]
        for entry in entries:
            if entry.method is Method.DELETE:
                with naming(entry.number):
                    await self._delete(entry)
        for entry in self._transaction.order.entries:
            if entry.number not in self._drafter.same:
                with naming(entry.number):
                    await self._identify(entry)
        for entry in entries:
            if entry.method in _WRITING_ORDER and not self._is_there(entry):
                self._claim(entry, self._names[entry.number])
        await self._write_all(entries)
        await self._ask_again(entries)
        for entry in entries:
            if entry.reads and entry.type:
                with naming(entry.number):
                    await current(self._session, entry.type, entry.id)
        for number, first in self._drafter.same.items():
            self._done[number] = Done(Effect.UNCHANGED, self._done[first].version)
        return tuple(self._done.get(entry.number) for entry in self._transaction.entries)

    def _claim(self, entry: Entry, name: str) -> None:
        """Note that an entry changes a resource, as no other may."""
        first = self._claimed.setdefault(name, entry)
        if first is not entry:
            raise EntryFailed(entry.number, duplicate(entry, first))

    def _is_there(self, entry: Entry) -> bool:
        """Whether what it is to create is there already."""
        return entry.method is Method.POST and entry.number in self._found

    # Deletions.

    async def _delete(self, entry: Entry) -> None:
        if not entry.criteria:
            self._claim(entry, self._names[entry.number])
            self._done[entry.number] = await write.delete(
                self._session, entry.type, entry.id, if_match=entry.if_match
            )
            return
        limit = self._transaction.limits.deletes_max
        query = self._query(entry)
        for match in await self._session.find(query, limit=limit):
            self._claim(entry, f"{match.type}/{match.id}")
        self._done[entry.number] = await write.conditional_delete(
            self._session, query, limit=limit, if_match=entry.if_match
        )

    # Conditions.

    def _query(self, entry: Entry) -> Query:
        order = self._transaction.order
        return self._transaction.parse(entry.type, order.resolved(entry.criteria, self._names))

    async def _identify(self, entry: Entry) -> None:
        """Find out which resource a conditional entry is of."""
        query = self._query(entry)
        drafted = self._drafter.ids[entry.number]
        if entry.method is Method.PUT:
            match = await write.conditional_target(
                self._session,
                query,
                entry.type,
                drafted,
                has_id=bool(entry.id),
                if_match=entry.if_match,
            )
        else:
            match = await only_match(self._session, query)
            if match is None and entry.method is Method.PATCH:
                raise NotFound("no resource matches the criteria")
        if match is None:
            return
        self._found[entry.number] = match
        if match.id != drafted:
            same = [number for number, first in self._drafter.same.items() if first == entry.number]
            for number in (entry.number, *same):
                self._names[number] = f"{match.type}/{match.id}"
                self._moved.add(number)

    # Creates, updates and patches.

    async def _write_all(self, entries: Sequence[Entry]) -> None:
        """First those whose references are clear, which others may be searching for."""
        waiting = []
        for method in _WRITING_ORDER:
            for entry in entries:
                if entry.method is method and not await self._write(entry, ask=False):
                    waiting.append(entry)
        while waiting:
            rest = [entry for entry in waiting if not await self._write(entry, ask=True)]
            if len(rest) == len(waiting):
                raise EntryFailed(rest[0].number, _unresolved(len(rest)))
            waiting = rest

    async def _write(self, entry: Entry, *, ask: bool) -> bool:
        """Write it, unless it has conditional references that `ask` does not allow to resolve
        yet, or that match nothing so far."""
        with naming(entry.number):
            if self._is_there(entry):
                self._done[entry.number] = Done(Effect.UNCHANGED, self._found[entry.number])
                return True
            resource = await self._resource(entry, ask=ask)
            if resource is None:
                return False
            done = await self._put(entry, resource)
            assert done.version is not None
            self._done[entry.number] = done
            self._versions[self._names[entry.number]] = done.version.version
            return True

    async def _put(self, entry: Entry, resource: Prepared) -> Done:
        if entry.method is Method.PUT and not entry.criteria:
            return await write.update(
                self._session,
                resource,
                if_match=entry.if_match,
                if_none_match=bool(entry.if_none_match),
            )
        written = await self._session.put(resource)  # its conditions were checked before
        effect = Effect.CREATED if written.created else Effect.UPDATED
        return Done(effect, written.version, 1)

    async def _resource(self, entry: Entry, *, ask: bool) -> Prepared | None:
        """What an entry writes; None if it has to wait."""
        text = None
        if entry.patch is not None:
            text = await self._patched(entry)
            draft = self._drafter.draft_text(entry, text, self._answers())
        else:
            draft = self._transaction.drafts[entry.number]
        if draft.conditional and not (ask and await self._all_match(entry, draft)):
            return None
        if self._holds(entry, draft):
            return draft.resource
        draft = self._redrafted(entry, text)
        if draft.unversioned:
            for name in draft.unversioned:
                self._versions[name] = await self._version_after(name)
            draft = self._redrafted(entry, text)
        assert draft.resource is not None
        return draft.resource

    def _answers(self) -> Answers:
        return Answers(self._names, self._matches, self._versions)

    def _redrafted(self, entry: Entry, text: bytes | None) -> Draft:
        if text is None:
            return self._drafter.draft(entry, self._answers())
        return self._drafter.draft_text(entry, text, self._answers())

    def _holds(self, entry: Entry, draft: Draft) -> bool:
        """Whether all that was assumed for a draft turned out to be so."""
        if entry.patch is not None or draft.resource is None or draft.versioned:
            return False
        if entry.number in self._moved or not self._moved.isdisjoint(draft.entries):
            return False
        guesses = self._transaction.guesses
        return all(guesses.get(link) == self._matches[link] for link in draft.conditional)

    async def _patched(self, entry: Entry) -> bytes:
        """The resource that a patch is of, changed."""
        assert entry.patch is not None
        type, _, id = self._names[entry.number].partition("/")
        version = self._found.get(entry.number) or await current(self._session, type, id)
        require_version(version, entry.if_match)
        assert version.body is not None
        bytes_max = self._transaction.limits.resource_bytes_max
        return entry.patch.applied(version.body, bytes_max=bytes_max)

    async def _version_after(self, name: str) -> int:
        """The version that a resource will have when all is done."""
        type, _, id = name.partition("/")
        version = await self._session.read(type, id)
        if name in self._claimed and self._claimed[name].method is not Method.DELETE:
            return 1 if version is None else version.version + 1
        if live(version) is None:
            raise ReferenceUnresolved("a reference to a version is to a resource that is not there")
        assert version is not None
        return version.version

    # Conditional references.

    async def _all_match(self, entry: Entry, draft: Draft) -> bool:
        """Whether every conditional reference means something by now."""
        for link in sorted(draft.conditional):
            self._asked.setdefault(link, entry)
            if link not in self._matches:
                match = await self._match(link)
                if match is None:
                    return False
                self._matches[link] = match
        return True

    async def _match(self, link: str) -> str | None:
        """What a conditional reference means now, as Type/id. Raises MultipleMatches."""
        type, _, criteria = link.partition("?")
        order = self._transaction.order
        query = self._transaction.parse(type, order.resolved(criteria, self._names))
        match = await only_match(self._session, query)
        return None if match is None else f"{match.type}/{match.id}"

    async def _ask_again(self, entries: Sequence[Entry]) -> None:
        """Whether what was found is still the only thing to be found. If not, another entry
        wrote what was searched for, and the outcome would hang on the order of entries."""
        for link, entry in self._asked.items():
            with naming(entry.number):
                if await self._match(link) != self._matches[link]:
                    raise ReferenceUnresolved(
                        "what a conditional reference means is changed by another entry"
                    )
        for entry in entries:
            if not entry.criteria or entry.method not in (Method.POST, Method.PUT):
                continue
            with naming(entry.number):
                for match in await self._session.find(self._query(entry), limit=2):
                    if f"{match.type}/{match.id}" != self._names[entry.number]:
                        raise MultipleMatches(
                            "another entry writes a resource that its criteria match too"
                        )


def _unresolved(waiting: int) -> ReferenceUnresolved:
    text = "a conditional reference matches no resource, neither of the store nor of this Bundle"
    if waiting > 1:
        text += (
            f"; {waiting} entries wait for such a match: if they wait for each other in a "
            "circle, refer to them by their fullUrl instead"
        )
    return ReferenceUnresolved(text)
