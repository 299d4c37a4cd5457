"""Address: which types and ids can be in a URL, for a server of this release."""

from engine.errors import NotFound
from engine.fhir.ids import is_id
from engine.fhir.types import STORED_TYPES


def check_address(type: str, id: str | None = None) -> None:
    """Raise NotFound for an address of nothing: what cannot be stored cannot be found either."""
    if type not in STORED_TYPES or (id is not None and not is_id(id)):
        raise NotFound("there is no such resource")
