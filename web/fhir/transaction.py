"""Transaction: Bundles of type batch and transaction, sent to the FHIR base.

A transaction is looked through first, outside of the store and, if it is large, in a thread; the
store's writer then has only the writing to do, and what depends on what is there. The entries of
a batch are transactions of one entry each, so many at a time that they share commits.
Source: FHIR R4 http.html#transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import msgspec
import trio
from quart import Blueprint, Response, request

from engine.bundles.criteria import ParseCriteria
from engine.bundles.drafting import Drafter
from engine.bundles.entry import Entry, EntryFailed
from engine.bundles.execution import execute
from engine.bundles.reading import BundleKind, EntryReader, Preconditions, read_bundle
from engine.bundles.transaction import Transaction, TransactionLimits
from engine.errors import BadRequest, PenstockError
from engine.fhir.references import LinkRewriter
from engine.interactions.effect import Done
from engine.interactions.intake import Intake
from engine.ports import TenantStore
from web.fhir.bundle import bundle
from web.fhir.conditional_requests import parse_if_match, parse_only_create
from web.fhir.context import FhirContext
from web.fhir.criteria import criteria_parser
from web.fhir.entries import asked_entry, done_entry, entry_issues, refused_entry
from web.fhir.negotiation import parse_prefer, require_json_body
from web.fhir.outcome import error_response, outcome_response
from web.fhir.representation import Returned, json_response, request_form, request_returned

BATCH_ENTRIES_AT_ONCE = 32  # of one batch: enough that most commits have several
# Conditional references that are looked up ahead. More are looked up in the writer, which is no
# error, only slower for others.
GUESSES_MAX = 1000


def transaction_blueprint(context: FhirContext) -> Blueprint:
    """POST to the FHIR base itself."""
    blueprint = Blueprint("transaction", __name__)
    api = TransactionApi(context)
    for address in ("", "/"):
        blueprint.add_url_rule(address, view_func=api.submit, methods=["POST"])
    return blueprint


class _Means(msgspec.Struct, frozen=True):
    """What the entries of one request are made into transactions with."""

    store: TenantStore
    intake: Intake
    parse: ParseCriteria
    reader: EntryReader


class TransactionApi:
    """The handler."""

    def __init__(self, context: FhirContext) -> None:
        self._context = context
        self._rewriter = LinkRewriter(context.definitions)
        settings = context.services.settings
        self._limits = TransactionLimits(
            deletes_max=settings.conditional_delete_max,
            resource_bytes_max=settings.resource_bytes_max,
        )

    async def submit(self) -> Response:
        """All entries, at once or one by one."""
        form = request_form()
        require_json_body(request.headers.get("Content-Type"))
        context = self._context
        async with context.body() as raw:
            kind, texts = await context.look_through(len(raw), read_bundle, raw)
            means = await self._means()
            if kind is BundleKind.BATCH:
                del raw
                entries = await self._batch(means, texts)
            else:
                try:
                    entries = await self._transaction(means, texts, len(raw))
                except EntryFailed as error:
                    return _failed(error)
        answer = bundle(f"{kind}-response", entries, links=(), total=None, now_ms=context.now_ms)
        return json_response(answer, form)

    async def _means(self) -> _Means:
        context = self._context
        store = await context.store()
        search = await store.search_definitions()
        return _Means(
            store,
            context.intake(search),
            criteria_parser(context, search),
            EntryReader(context.base, Preconditions(parse_if_match, parse_only_create)),
        )

    # Transactions.

    async def _transaction(
        self, means: _Means, texts: Sequence[bytes], size_bytes: int
    ) -> list[bytes]:
        """The entries of the answer. Raises EntryFailed, and then nothing was done."""
        context = self._context
        transaction = await context.look_through(size_bytes, self._read, means, texts)
        if transaction.conditional:
            guesses = await self._guess(means, transaction)
            transaction = await context.look_through(size_bytes, transaction.guessing, guesses)
        done = await self._execute(means, transaction)
        written = await context.look_through(
            size_bytes, _written_entries, context.base, done, _returned()
        )
        return [
            await asked_entry(entry) if answer is None else answer
            for entry, answer in zip(transaction.entries, written, strict=True)
        ]

    def _read(self, means: _Means, texts: Sequence[bytes]) -> Transaction:
        return self._prepared(means, means.reader.all(texts))

    def _prepared(self, means: _Means, entries: Sequence[Entry]) -> Transaction:
        drafter = Drafter(
            entries,
            rewriter=self._rewriter,
            intake=means.intake,
            new_id=self._context.new_id,
        )
        return Transaction(entries, drafter=drafter, parse=means.parse, limits=self._limits)

    async def _execute(self, means: _Means, transaction: Transaction) -> tuple[Done | None, ...]:
        if all(entry.reads for entry in transaction.entries):
            return (None,) * len(transaction.entries)
        work = partial(execute, transaction)
        return await means.store.transact(work, size_bytes=transaction.size_bytes)

    async def _guess(self, means: _Means, transaction: Transaction) -> Mapping[str, str]:
        """What conditional references mean now. The change itself looks again: what is guessed
        right need not be drafted there."""
        guesses: dict[str, str] = {}
        async with self._context.deadline():
            for link in sorted(transaction.conditional)[:GUESSES_MAX]:
                type, _, criteria = link.partition("?")
                try:
                    query = means.parse(type, criteria)
                except BadRequest:
                    continue  # as the change will say, naming the entry
                found = (await means.store.search(query, limit=2)).matches
                if len(found) == 1:
                    guesses[link] = f"{found[0].type}/{found[0].id}"
        return guesses

    # Batches.

    async def _batch(self, means: _Means, texts: Sequence[bytes]) -> list[bytes]:
        """The entries of the answer, some at a time, each for itself."""
        answers = [b""] * len(texts)
        waiting = iter(enumerate(texts))  # each is taken by one task, without a wait between

        async def work_off(waiting: Iterator[tuple[int, bytes]]) -> None:
            for number, text in waiting:
                answers[number] = await self._batch_entry(means, number, text)

        async with trio.open_nursery() as nursery:
            for _ in range(min(BATCH_ENTRIES_AT_ONCE, len(texts))):
                nursery.start_soon(work_off, waiting)
        return answers

    async def _batch_entry(self, means: _Means, number: int, text: bytes) -> bytes:
        try:
            return await self._done_alone(means, text)
        except EntryFailed as error:
            return refused_entry(number, error.cause)
        except PenstockError as error:
            return refused_entry(number, error)

    async def _done_alone(self, means: _Means, text: bytes) -> bytes:
        """One entry, which is the first of a Bundle of its own."""
        context = self._context
        entry = await context.look_through(len(text), means.reader.one, 0, text)
        if entry.reads or entry.operation:
            return await asked_entry(entry)
        transaction = await context.look_through(len(text), self._prepared, means, [entry])
        (done,) = await self._execute(means, transaction)
        assert done is not None
        return done_entry(context.base, done, _returned())


def _written_entries(
    base: str, done: Sequence[Done | None], returned: Returned
) -> list[bytes | None]:
    return [None if one is None else done_entry(base, one, returned) for one in done]


def _returned() -> Returned:
    """What entries hold; without a preference, no resources: the client has just sent them."""
    if "return" in parse_prefer(request.headers.getlist("Prefer")):
        return request_returned()
    return Returned.MINIMAL


def _failed(error: EntryFailed) -> Response:
    """A transaction of which nothing was done."""
    alone = error_response(error.cause)
    kept = {name: alone.headers[name] for name in ("Retry-After",) if name in alone.headers}
    return outcome_response(alone.status_code, entry_issues(error.number, error.cause), kept)
