"""Planner: cuts a snapshot into parts, once per job."""

from engine.limits import EngineLimits
from engine.model import ExportRequest, FileKind, Part, Snapshot
from engine.ports import BulkReader


async def make_plan(
    store: BulkReader, request: ExportRequest, snapshot: Snapshot, limits: EngineLimits
) -> tuple[Part, ...]:
    """The parts of an export: output first, then messages. Raises SnapshotGone."""
    parts = await store.plan(request, snapshot, limits.part_bytes)
    if request.issues:
        messages = Part(
            number=len(parts),
            kind=FileKind.ERROR,
            type="OperationOutcome",
            index=1,
            rows_estimate=len(request.issues),
        )
        parts = (*parts, messages)
    assert [part.number for part in parts] == list(range(len(parts)))
    return parts
