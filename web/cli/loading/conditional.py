"""Resources that refer to others by criteria (`Patient?identifier=...`): the second pass.

They are held back in a file until all others are stored. Then each reference is searched for: the
only match takes its place, and the resource is stored; all its other bytes stay. A resource may
wait for one that waits too, so the pass is repeated for as long as it finds something.
Source: FHIR R4 http.html#trules.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO
from urllib.parse import parse_qsl

import msgspec

from engine.errors import BadRequest, ResourceInvalid
from engine.fhir.body import prepare
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.query import SearchContext, parse_search
from engine.limits import MIB
from engine.model import Ingested, Prepared
from engine.ports import TenantStore
from web.cli.loading.cutting import Rejected
from web.cli.loading.parsing import CONDITIONAL, Held
from web.cli.loading.pipeline import NOTHING, Report
from web.cli.loading.worker import LENGTH_BYTES, Batch, framed

STORED_ROWS = 500
STORED_BYTES = 2 * MIB
KNOWN_MAX = 50_000  # criteria whose answers are remembered during one pass

_string = msgspec.json.Decoder(str)


class Unmatched(BadRequest):
    """Nothing matches, so far."""


class HeldBack:
    """The resources that wait, in a file that has no name and ends with this process."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see close
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Held)
        self.count = 0

    def close(self) -> None:
        """They are gone."""
        self._file.close()

    def add(self, held: Sequence[Held]) -> None:
        """Keep some more."""
        self._file.seek(0, 2)
        for one in held:
            self._file.write(framed(self._encoder.encode(one)))
            self.count += 1

    def __iter__(self) -> Iterator[Held]:
        """All in order. Whoever adds meanwhile adds to another one."""
        self._file.seek(0)
        while length := self._file.read(LENGTH_BYTES):
            yield self._decoder.decode(self._file.read(int.from_bytes(length, "big")))


class SecondPass:
    """Stores what was held back, as far as its references can be resolved."""

    def __init__(
        self, store: TenantStore, context: SearchContext, report: Report, *, bytes_max: int
    ) -> None:
        self._store = store
        self._context = context
        self._report = report
        self._bytes_max = bytes_max
        self._known: dict[str, str] = {}
        self._resolved: list[Prepared] = []
        self._size_bytes = self._references = 0

    async def run(self, held: HeldBack) -> None:
        """Again and again while some are stored; what is left is rejected. `held` is closed."""
        waiting = held
        try:
            while waiting.count:
                count, left = waiting.count, HeldBack()
                last, waiting = waiting, left
                await self._pass(last, left)
                last.close()
                if left.count == count:
                    break
            for one in waiting:
                reason = "a conditional reference matches no resource"
                self._report(Batch(rejected=[_rejected(one, reason)]), NOTHING)
        finally:
            waiting.close()

    async def _pass(self, waiting: HeldBack, left: HeldBack) -> None:
        search = await self._store.search_definitions()
        self._known.clear()
        for one in waiting:
            try:
                await self._add(one, search)
            except Unmatched:
                left.add([one])
            except (BadRequest, ResourceInvalid) as error:
                self._report(Batch(rejected=[_rejected(one, str(error))]), NOTHING)
            if len(self._resolved) >= STORED_ROWS or self._size_bytes >= STORED_BYTES:
                await self._flush()
        await self._flush()

    async def _add(self, one: Held, search: SearchDefinitions) -> None:
        """Put a resource among those to be stored. Raises Unmatched, BadRequest."""
        body = Prepared(one.type, one.id, one.head, one.tail).unwritten_body
        found: dict[bytes, str] = {}
        for match in CONDITIONAL.finditer(body):
            if match[1] not in found:
                criteria = _string.decode(b'"%b"' % match[1])
                found[match[1]] = await self._match(criteria, search)

        def named(match: re.Match[bytes]) -> bytes:
            return b'"reference":"%b"' % found[match[1]].encode()

        text, count = CONDITIONAL.subn(named, body)
        self._resolved.append(prepare(text, bytes_max=max(self._bytes_max, len(text))))
        self._size_bytes += len(text)
        self._references += count

    async def _match(self, criteria: str, search: SearchDefinitions) -> str:
        """`Type/id` of the only match."""
        known = self._known.get(criteria)
        if known is not None:
            return known
        type, _, query = criteria.partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
            parsed = parse_search(
                pairs, type=type, search=search, lenient=False, context=self._context
            )
        except (BadRequest, ValueError):
            raise BadRequest("a conditional reference has criteria that are none here") from None
        if not parsed.query.criteria:
            raise BadRequest("a conditional reference has no criteria")
        matches = (await self._store.search(parsed.query, limit=2)).matches
        if not matches:
            raise Unmatched("matches nothing")
        if len(matches) > 1:
            raise BadRequest("a conditional reference matches several resources and must match one")
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[criteria] = name = f"{matches[0].type}/{matches[0].id}"
        return name

    async def _flush(self) -> None:
        if not self._resolved:
            return
        done: Ingested = await self._store.ingest(self._resolved)
        self._report(Batch(conditional=self._references), done)
        self._resolved = []
        self._size_bytes = self._references = 0


def _rejected(one: Held, error: str) -> Rejected:
    return Rejected(file=one.file, line=one.line, entry=one.entry, error=error)
