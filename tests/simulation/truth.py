"""Truth: what an export must hold, worked out from the journal of writes alone.

Nothing here asks `visible`, a plan or a stream: the versions up to the cut are replayed.
"""

import gzip
from hashlib import sha256

from backends.memory.state import JobRow, MemoryWorld, StoreState
from engine.fhir.outcome import outcome_line
from engine.model import ExportRequest, FileKind, FinalizedPart, Version

Place = tuple[FileKind, str]


def live_at(store: StoreState, seq: int) -> dict[tuple[str, str], Version]:
    """Every live resource after this many writes, in the order of their last write."""
    live: dict[tuple[str, str], Version] = {}
    for row in store.rows:
        if row.seq > seq:
            break
        live.pop((row.version.type, row.version.id), None)
        if row.version.body is not None:
            live[row.version.type, row.version.id] = row.version
    return live


class Truth:
    """Judges manifests."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def expected(self, row: JobRow) -> dict[Place, list[bytes]]:
        """The lines that the job's files must hold, by kind and type."""
        store = self._world.tenants[row.tenant.id].store
        lines: dict[Place, list[bytes]] = {}
        for version in live_at(store, row.snapshot.seq).values():
            if _wanted(version, row.request):
                assert version.body is not None
                place = (FileKind.OUTPUT, version.type)
                lines.setdefault(place, []).append(version.body + b"\n")
        if row.request.issues:
            place = (FileKind.ERROR, "OperationOutcome")
            lines[place] = [outcome_line(issue) for issue in row.request.issues]
        return lines

    def check_manifest(self, row: JobRow) -> list[str]:
        """What is wrong with a complete job's files; nothing, it is to be hoped."""
        problems = self._check_cut(row)
        if row.plan is None or sorted(row.parts) != list(range(len(row.plan))):
            return [*problems, "its parts are not those of its plan"]
        found: dict[Place, list[bytes]] = {}
        for _, part in sorted(row.parts.items()):
            data, wrong = self._read(row, part)
            problems += wrong
            if data:
                found.setdefault((part.kind, part.type), []).append(data)
        for place in sorted({*found, *(expected := self.expected(row))}):
            if b"".join(found.get(place, [])) != b"".join(expected.get(place, [])):
                problems.append(f"its {place[1]} files are not the snapshot")
        return problems + _check_indexes(row)

    def _check_cut(self, row: JobRow) -> list[str]:
        """T and S are the same instant."""
        store, cut = self._world.tenants[row.tenant.id].store, row.snapshot
        for version in store.rows:
            if (version.version.updated_ms <= cut.t_ms) != (version.seq <= cut.seq):
                return ["its transactionTime and its snapshot differ"]
        return []

    def _read(self, row: JobRow, part: FinalizedPart) -> tuple[bytes, list[str]]:
        if part.file is None:
            return b"", ["an empty part counts rows"] if part.rows else []
        name = f"{part.type}-{part.index}"
        if not part.file.location.startswith(f"{row.tenant.key}/{row.id}/"):
            return b"", [f"{name} lies with another tenant or job"]
        file = self._world.files.get(part.file.location)
        if file is None or not file.finished:
            return b"", [f"{name} has no file"]
        stored = bytes(file.data)
        data = gzip.decompress(stored) if part.file.coding else stored
        facts = (len(data), sha256(data).hexdigest(), len(stored), sha256(stored).hexdigest())
        told = part.file
        wrong = facts != (told.bytes, told.sha256, told.stored_bytes, told.stored_sha256)
        problems = [f"{name} has another size or hash than recorded"] if wrong else []
        if data.count(b"\n") != part.rows:
            problems.append(f"{name} has another count than recorded")
        return data, problems


def _wanted(version: Version, request: ExportRequest) -> bool:
    if request.types and version.type not in request.types:
        return False
    after = request.since_ms is None or version.updated_ms > request.since_ms
    return after and (request.until_ms is None or version.updated_ms <= request.until_ms)


def _check_indexes(row: JobRow) -> list[str]:
    """Within kind and type the parts are numbered from 1, none twice."""
    indexes: dict[Place, list[int]] = {}
    for _, part in sorted(row.parts.items()):
        indexes.setdefault((part.kind, part.type), []).append(part.index)
    wrong = [name for (_, name), own in indexes.items() if own != list(range(1, len(own) + 1))]
    return [f"its {name} parts are numbered {indexes}" for name in wrong]
