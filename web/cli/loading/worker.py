"""A worker process of `penstock load`: parses, validates and packs what it is given.

Frames of four bytes of length, one of kind, and content come in, and frames with a length go
out. Ends when its input does, so it outlives no load. Run as `python -m web.cli.loading.worker`
by `web.cli.loading.crew`.
"""

import gc
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from typing import IO

import msgspec

from engine.fhir.definitions.load import load_definitions
from engine.fhir.validate import Validator
from engine.ports import Packer
from web.cli.loading.cutting import Cut, Rejected
from web.cli.loading.parsing import Check, Held, Rules, Seen, parse_cut
from web.runtime import set_up_runtime

LENGTH_BYTES = 4
KIND_CUT = b"c"
KIND_PACKER = b"p"
_SEARCH_PARAMETER = "SearchParameter"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a cut, or of a part of it."""

    packed: bytes = b""  # for BulkWriter.ingest_packed; empty: no resources
    rows: int = 0
    rejected: list[Rejected] = []
    notices: list[str] = []
    held: list[Held] = []
    conditional: int = 0  # references by criteria that were resolved
    unresolved: int = 0
    bytes_read: int = 0
    seen: list[tuple[int, bytes]] = []
    redefines: bool = False  # holds SearchParameters
    last: bool = False  # of its cut


class Work:
    """What a worker does, in whatever process or thread."""

    def __init__(self, rules: Rules, packer: Packer) -> None:
        self._rules = rules
        self.packer = packer
        self._check: Check | None = None

    def batches(self, cut: Cut, seen: Seen | None = None) -> Iterator[Batch]:
        """Parse, validate and pack. The last one is marked. Blocks."""
        if self._rules.structure and self._check is None:
            self._check = Validator(load_definitions(self._rules.release)).check_body
        parts = parse_cut(cut, self._rules, check=self._check, seen=seen)
        parsed = next(parts, None)
        while parsed is not None:
            following = next(parts, None)
            resources = parsed.resources
            yield Batch(
                packed=self.packer.pack(resources) if resources else b"",
                rows=len(resources),
                rejected=parsed.rejected,
                notices=parsed.notices,
                held=parsed.held,
                unresolved=parsed.unresolved,
                bytes_read=parsed.bytes_read,
                seen=parsed.seen,
                redefines=any(one.type == _SEARCH_PARAMETER for one in resources),
                last=following is None,
            )
            parsed = following


def framed(content: bytes, kind: bytes = b"") -> bytes:
    """A frame, ready to be sent."""
    return b"".join((len(kind + content).to_bytes(LENGTH_BYTES, "big"), kind, content))


def main() -> None:
    """Serve stdin until it ends."""
    set_up_runtime()  # otherwise the memory of each batch is mapped anew
    # A terminal sends its Ctrl-C to all; when to stop is for the load to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write among the frames
    try:
        _serve(sys.stdin.buffer, output)
    except BrokenPipeError:
        return  # the load has ended
    except Exception as error:
        # No message and no trace: they may hold content.
        sys.stderr.write(f"a worker of the load failed: {type(error).__name__}\n")
        raise SystemExit(1) from None


def _serve(source: IO[bytes], output: IO[bytes]) -> None:
    rules, packer = pickle.loads(_frame(source))  # noqa: S301 - from the load, our parent
    work = Work(rules, packer)
    cuts, batches = msgspec.msgpack.Decoder(Cut), msgspec.msgpack.Encoder()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # what is parsed has no circles
    while frame := _frame(source):
        content = memoryview(frame)[1:]
        if frame[:1] == KIND_PACKER:
            work.packer = pickle.loads(content)  # noqa: S301 - as above
            continue
        for batch in work.batches(cuts.decode(content)):
            _write_all(output, framed(batches.encode(batch)))


def _write_all(output: IO[bytes], frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[output.write(rest) :]


def _frame(source: IO[bytes]) -> bytes:
    """The next one; empty at the end, also at one in the middle."""
    length = int.from_bytes(source.read(LENGTH_BYTES), "big")
    frame = source.read(length)
    return frame if len(frame) == length else b""


if __name__ == "__main__":
    main()
