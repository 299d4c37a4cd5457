"""The manifest's form (bulk-data.md D2, E57 to E62, E67, E70)."""

from engine.export.manifest import MANIFEST_TYPE, manifest
from engine.instant import format_instant
from engine.model import (
    ExportJob,
    ExportRequest,
    ExportStatus,
    FileKind,
    FinalizedPart,
    JobId,
    Snapshot,
    StoredFile,
)
from engine.tenant import DEFAULT_TENANT, TenantKey

BASE = "https://fhir.example.org/fhir"
JOB = ExportJob(
    id=JobId("a" * 32),
    tenant=DEFAULT_TENANT,
    tenant_key=TenantKey("k"),
    status=ExportStatus.COMPLETE,
    request=ExportRequest(url=f"{BASE}/$export?_type=Patient"),
    snapshot=Snapshot("s", 7, 1_769_848_200_123),
    created_ms=1_769_848_200_200,
)


def part(kind: FileKind, type: str, index: int, rows: int = 2) -> FinalizedPart:
    file = StoredFile(
        location="secret", bytes=20, sha256="ab", coding="gzip", stored_bytes=9, stored_sha256="cd"
    )
    return FinalizedPart(
        number=index, kind=kind, type=type, index=index, rows=rows, token=1,
        file=file if rows else None,
    )  # fmt: skip


def test_the_head_has_what_every_version_of_the_guide_asks_for_D2() -> None:
    data = manifest(JOB, [], base=BASE)
    assert list(data) == [
        "manifestType",
        "transactionTime",
        "request",
        "requiresAccessToken",
        "outputFormat",
        "output",
        "deleted",
        "error",
        "outcome",
    ]
    assert data["manifestType"] == MANIFEST_TYPE  # E70
    assert data["transactionTime"] == format_instant(JOB.snapshot.t_ms)  # E57
    assert data["request"] == JOB.request.url  # E58
    assert data["requiresAccessToken"] is False  # E59
    assert data["outputFormat"] == "application/fhir+ndjson"


def test_an_empty_export_has_empty_arrays_E60_E67() -> None:
    data = manifest(JOB, [], base=BASE)
    assert data["output"] == data["deleted"] == data["error"] == data["outcome"] == []


def test_a_file_is_named_with_type_absolute_url_count_and_size_E61() -> None:
    data = manifest(JOB, [part(FileKind.OUTPUT, "Patient", 1)], base=BASE)
    assert data["output"] == [
        {
            "type": "Patient",
            "url": f"{BASE}/$export-file/{JOB.id}/Patient-1.ndjson",
            "count": 2,
            "fileSize": 20,  # of the NDJSON, not of the file at rest
            "sha256": "ab",
        }
    ]


def test_a_part_without_rows_is_not_named_E62_D11() -> None:
    assert manifest(JOB, [part(FileKind.OUTPUT, "Patient", 1, rows=0)], base=BASE)["output"] == []


def test_messages_are_under_error_and_under_outcome_E67() -> None:
    data = manifest(JOB, [part(FileKind.ERROR, "OperationOutcome", 1)], base=BASE)
    assert data["error"] == data["outcome"]
    assert [item["type"] for item in data["error"]] == ["OperationOutcome"]
    assert data["output"] == []


def test_the_last_segments_of_all_urls_differ_D14() -> None:
    parts = [
        part(FileKind.OUTPUT, "Patient", 1),
        part(FileKind.OUTPUT, "Patient", 2),
        part(FileKind.OUTPUT, "OperationOutcome", 1),
        part(FileKind.ERROR, "OperationOutcome", 1),
        part(FileKind.DELETED, "Bundle", 1),
        part(FileKind.OUTPUT, "Bundle", 1),
    ]
    data = manifest(JOB, parts, base=BASE)
    urls = [item["url"] for name in ("output", "deleted", "error") for item in data[name]]
    names = {url.rpartition("/")[2] for url in urls}
    assert len(names) == len(parts)
    assert all(name.endswith(".ndjson") for name in names)


def test_where_a_file_lies_stays_unsaid() -> None:
    assert "secret" not in str(manifest(JOB, [part(FileKind.OUTPUT, "Patient", 1)], base=BASE))
