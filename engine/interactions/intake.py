"""Intake: from the bytes of a body to a resource that can be stored.

Checks the bytes, validates the structure and makes the index rows ahead, so that a store's
writer has none of this to do. Pure and without I/O: large bodies go through it in a thread.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.errors import PenstockError, ResourceInvalid
from engine.fhir.body import has_id, prepare, prepare_new
from engine.fhir.search.definitions import SearchDefinitions
from engine.model import Issue, Prepared

ISSUES_MAX = 50  # of one refusal; more would tell nobody more


class StructureInvalid(PenstockError):
    """A resource breaks the rules of its type: every issue names the element."""

    code = "structure"

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__(f"{len(issues)} elements break the rules of their type")
        self.issues = tuple(issues[:ISSUES_MAX])


class StructureCheck(Protocol):
    """What `engine.fhir.validate.Validator` does."""

    def check_body(self, body: bytes) -> list[Issue]:
        """What is wrong with a resource that is known to be JSON; nothing if it is sound."""
        ...


class Intake:
    """Prepares the bodies that one tenant is sent. Never changed; may be used in any thread."""

    def __init__(
        self,
        *,
        bytes_max: int,
        structure: StructureCheck | None = None,
        search: SearchDefinitions | None = None,
    ) -> None:
        """`structure` None: not validated. `search` None: the store makes the index rows."""
        self._bytes_max = bytes_max
        self._structure = structure
        self._search = search

    def at(self, raw: bytes, *, type: str, id: str) -> Prepared:
        """A resource that is to be stored at this address; its own id, if given, is the same.
        Raises ResourceInvalid, ResourceTooLarge, StructureInvalid."""
        return self._checked(prepare(raw, type=type, id=id, bytes_max=self._bytes_max))

    def replacing(self, raw: bytes, *, type: str, id: str) -> Prepared:
        """As `at`, of a resource that a client sends to this address: it must have the id itself
        (http.html#update)."""
        resource = prepare(raw, type=type, bytes_max=self._bytes_max)
        if resource.id != id:
            raise ResourceInvalid(
                "has another id than the one asked for", code="value", expression="Resource.id"
            )
        return self._checked(resource)

    def new(self, raw: bytes, *, type: str, id: str) -> Prepared:
        """A resource that gets a new id, whatever id it has. Raises as `at`."""
        return self._checked(prepare_new(raw, type=type, id=id, bytes_max=self._bytes_max))

    def either(self, raw: bytes, *, type: str, id: str) -> tuple[Prepared, bool]:
        """A resource with its own id (then True), else with this new one. Raises as `at`."""
        given = has_id(raw)
        resource = prepare(raw, type=type, id=None if given else id, bytes_max=self._bytes_max)
        return self._checked(resource), given

    def _checked(self, resource: Prepared) -> Prepared:
        if self._structure is None and self._search is None:
            return resource
        body = resource.unwritten_body
        if self._structure is not None:
            issues = self._structure.check_body(body)
            if any(issue.severity in ("error", "fatal") for issue in issues):
                raise StructureInvalid(issues)
        if self._search is None:
            return resource
        return msgspec.structs.replace(
            resource,
            rows=self._search.rows(resource.type, body),
            generation=self._search.generation,
        )
