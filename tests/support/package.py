"""The published examples of FHIR R4: some 5,300 resources, too many to keep in the checkout.

The npm package is had once and kept in `.cache/`. The variable PENSTOCK_FHIR_PACKAGE may name its
archive instead. Run as a program (`python -m tests.support.package`), it fetches the package.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NAME, VERSION = "hl7.fhir.r4.examples", "4.0.1"
SHA256 = "dce87f1b5b9341867033f7d1f544fa1b5232503f6d62813887ac6b8a8b6cb682"
FETCH_SECONDS_MAX = 300
CACHE = Path(__file__).resolve().parents[2] / ".cache"


class PackageMissing(Exception):
    """The package is not there and cannot be had."""


def r4_package() -> Path:
    """The folder with the package's files, one resource each. Skips the test without it."""
    try:
        return unpacked_package()
    except PackageMissing as error:
        pytest.skip(str(error))


def r4_resources() -> Iterator[tuple[str, bytes]]:
    """Every resource of the package by its file's name without `.json`, in order of names."""
    for path in sorted(r4_package().glob("*.json")):
        if path.name[0].isupper():  # the others are the package's own
            yield path.stem, path.read_bytes()


def unpacked_package() -> Path:
    """The folder, made at the first call. Raises PackageMissing."""
    folder = CACHE / f"{NAME}-{VERSION}"
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        archive = package_archive()
        with tempfile.TemporaryDirectory(dir=CACHE) as room:
            with tarfile.open(archive) as tar:
                tar.extractall(room, filter="data")
            try:
                (Path(room) / "package").rename(folder)
            except OSError:  # another process was faster
                assert folder.exists()
    return folder


def package_archive() -> Path:
    """The package's .tgz, known to be the right one. Raises PackageMissing."""
    named = os.environ.get("PENSTOCK_FHIR_PACKAGE")
    archive = Path(named) if named else CACHE / f"{NAME}-{VERSION}.tgz"
    if not archive.exists():
        if named:
            raise PackageMissing("PENSTOCK_FHIR_PACKAGE names no file")
        _fetch(archive)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise PackageMissing(f"{archive.name} is not {NAME} {VERSION}: remove it")
    return archive


def _fetch(archive: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageMissing(
            f"needs the npm package {NAME}: install npm, or name the archive in"
            " PENSTOCK_FHIR_PACKAGE"
        )
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as room:
        try:
            subprocess.run(
                [npm, "pack", f"{NAME}@{VERSION}", "--silent"],
                cwd=room,
                check=True,
                capture_output=True,
                timeout=FETCH_SECONDS_MAX,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise PackageMissing(f"npm does not get {NAME}: {type(error).__name__}") from None
        (Path(room) / archive.name).rename(archive)


if __name__ == "__main__":
    try:
        unpacked_package()
    except PackageMissing as error:
        sys.exit(f"tests of the R4 package will be skipped: {error}")
