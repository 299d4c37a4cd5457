"""Collecting an export: whole files or none, and nothing that is not what was recorded."""

import os
from pathlib import Path

import pytest

from engine.errors import BadRequest, OutputUnavailable
from engine.model import (
    Batch,
    ExportJob,
    ExportRequest,
    ExportStatus,
    FileKind,
    FinalizedPart,
    JobId,
    PartKey,
    Snapshot,
)
from engine.ports import OutputStore
from engine.tenant import DEFAULT_TENANT, TenantKey
from web.cli.collect import CopyDiffers, collect, prepare_folder
from web.compose import compose, output_folder
from web.settings import Settings, load_settings

KEY = TenantKey("00112233aabbccdd")
JOB = ExportJob(
    id=JobId("0" * 32),
    tenant=DEFAULT_TENANT,
    tenant_key=KEY,
    status=ExportStatus.COMPLETE,
    request=ExportRequest(),
    snapshot=Snapshot("store", 1, 0),
    created_ms=0,
)


def settings_for(folder: Path, coding: str) -> Settings:
    environ = {"PENSTOCK_STORE": f"sqlite:{folder}", "PENSTOCK_OUTPUT_CODING": coding}
    return load_settings(environ=environ)


async def written(outputs: OutputStore, number: int, lines: bytes) -> FinalizedPart:
    """A part as a job would have recorded it."""
    key = PartKey(
        tenant=KEY, job=JOB.id, kind=FileKind.OUTPUT, type="Patient", index=number + 1, token=1
    )
    rows = lines.count(b"\n")
    async with outputs.open_part(key) as sink:
        await sink.append(Batch((lines,), rows))
        file = await sink.finalize()
    return FinalizedPart(
        number=number,
        kind=key.kind,
        type=key.type,
        index=key.index,
        rows=rows,
        token=1,
        file=file,
    )


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_file_that_changed_in_the_store_is_refused_and_nothing_is_left(tmp_path, coding):
    settings = settings_for(tmp_path / "store", coding)
    folder = tmp_path / "out"
    prepare_folder(folder)
    async with compose(settings) as ports:
        parts = [await written(ports.outputs, n, b'{"a":%d}\n' % n * 500) for n in range(2)]
        assert parts[1].file is not None
        path = output_folder(settings) / parts[1].file.location
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises((CopyDiffers, OutputUnavailable)):
            await collect(ports.outputs, JOB, parts, folder, gzip=False)
    assert os.listdir(folder) == []


async def test_file_that_was_cut_short_is_refused(tmp_path):
    settings = settings_for(tmp_path / "store", "gzip")
    folder = tmp_path / "out"
    prepare_folder(folder)
    async with compose(settings) as ports:
        part = await written(ports.outputs, 0, b'{"a":1}\n' * 5000)
        assert part.file is not None
        path = output_folder(settings) / part.file.location
        os.truncate(path, part.file.stored_bytes - 10)
        with pytest.raises((CopyDiffers, OutputUnavailable)):
            await collect(ports.outputs, JOB, [part], folder, gzip=True)
    assert os.listdir(folder) == []


async def test_manifest_is_written_last_and_names_files_beside_it(tmp_path):
    settings = settings_for(tmp_path / "store", "")
    folder = tmp_path / "deep" / "out"
    prepare_folder(folder)
    async with compose(settings) as ports:
        part = await written(ports.outputs, 0, b'{"a":1}\n')
        manifest = await collect(ports.outputs, JOB, [part], folder, gzip=False)
    assert [item["url"] for item in manifest["output"]] == ["Patient-1.ndjson"]
    assert sorted(os.listdir(folder)) == ["Patient-1.ndjson", "manifest.json"]


def test_folder_must_be_new_or_empty(tmp_path):
    prepare_folder(tmp_path / "new")
    prepare_folder(tmp_path / "new")
    (tmp_path / "new" / "file").touch()
    with pytest.raises(BadRequest, match="not empty"):
        prepare_folder(tmp_path / "new")
    with pytest.raises(OutputUnavailable, match="cannot use"):
        prepare_folder(tmp_path / "new" / "file")
