"""Reads the definitions of a release that are shipped with the package."""

import gzip
from importlib.resources import files

import msgspec

from engine.errors import NotSupported
from engine.fhir.definitions.model import Definitions

_FILES = {"R4": "r4.json.gz"}
_decoder = msgspec.json.Decoder(Definitions)


def load_definitions(release: str = "R4") -> Definitions:
    """The definitions of a FHIR release. Takes some 30 ms; callers keep what they get.

    Raises NotSupported for a release that is not shipped.
    """
    name = _FILES.get(release)
    if name is None:
        known = ", ".join(_FILES)
        raise NotSupported(f"this FHIR release is not supported; supported: {known}")
    packed = files("engine.fhir.definitions").joinpath(name).read_bytes()
    return _decoder.decode(gzip.decompress(packed))
