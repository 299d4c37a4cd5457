"""Parts for tests of output stores: keys, batches, and files written whole."""

from collections.abc import Sequence

from engine.model import Batch, FileKind, JobId, PartKey, StoredFile
from engine.ports import OutputStore
from engine.tenant import TenantKey

LINES = tuple(b'{"resourceType":"Patient","id":"%d"}\n' % n for n in range(2000))
NDJSON = b"".join(LINES)


def key(
    type: str = "Patient",
    index: int = 1,
    *,
    token: int = 1,
    job: str = "j1",
    tenant: str = "t1",
    kind: FileKind = FileKind.OUTPUT,
) -> PartKey:
    """The key of one attempt at a part."""
    return PartKey(
        tenant=TenantKey(tenant), job=JobId(job), kind=kind, type=type, index=index, token=token
    )


def batch(*chunks: bytes) -> Batch:
    """The chunks as one batch."""
    return Batch(chunks, sum(chunk.count(b"\n") for chunk in chunks))


async def write(store: OutputStore, part: PartKey, chunks: Sequence[bytes] = LINES) -> StoredFile:
    """A finished file with these chunks."""
    async with store.open_part(part) as sink:
        await sink.append(batch(*chunks))
        return await sink.finalize()


async def read(
    store: OutputStore, file: StoredFile, start: int = 0, stop: int | None = None
) -> bytes:
    """The bytes at rest."""
    blocks = []
    async with store.read_part(file, start=start, stop=stop) as reader:
        while block := await reader.read():
            blocks.append(block)
    return b"".join(blocks)
