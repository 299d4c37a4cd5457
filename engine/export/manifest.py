"""Manifest: what a client reads of a finished export. No I/O.

One form for every version of the guide (D2): what 2.0 and 3.0 require and what 4.0
names, as far as they do not contradict each other. `extension` is left out, being an
object in one and an array in the other; `link`, because there is one manifest.
"""

from collections.abc import Iterable
from typing import Any

from engine.export.filenames import file_name
from engine.instant import format_instant
from engine.model import ExportJob, FileKind, FinalizedPart

MANIFEST_TYPE = "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/BulkDataManifest"
FILE_OPERATION = "$export-file"


def manifest(
    job: ExportJob,
    parts: Iterable[FinalizedPart],
    *,
    base: str,
    requires_access_token: bool = False,
) -> dict[str, Any]:
    """The manifest as plain data, ready to be encoded as JSON.

    `base` is the tenant's absolute FHIR base. Parts without a file are not named (E62, D11).
    """
    files: dict[FileKind, list[dict[str, Any]]] = {kind: [] for kind in FileKind}
    for part in parts:
        if part.file is not None:
            assert part.rows > 0  # a part without rows has no file
            files[part.kind].append(_item(part, f"{base}/{FILE_OPERATION}/{job.id}"))
    return {
        "manifestType": MANIFEST_TYPE,
        "transactionTime": format_instant(job.snapshot.t_ms),
        "request": job.request.url,
        "requiresAccessToken": requires_access_token,
        "outputFormat": job.request.output_format,
        "output": files[FileKind.OUTPUT],
        "deleted": files[FileKind.DELETED],
        # The same files under the names of 2.0 and 3.0, and of 4.0 (E67).
        "error": files[FileKind.ERROR],
        "outcome": files[FileKind.ERROR],
    }


def _item(part: FinalizedPart, folder: str) -> dict[str, Any]:
    assert part.file is not None
    return {
        "type": part.type,
        "url": f"{folder}/{file_name(part)}",
        "count": part.rows,
        "fileSize": part.file.bytes,
        "sha256": part.file.sha256,  # of the same bytes as fileSize: before any coding
    }
