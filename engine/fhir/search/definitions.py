"""What can be searched for at one tenant: the release's parameters and the tenant's own."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.fhir.definitions.model import Definitions
from engine.fhir.search.rows import Rows
from engine.fhir.search.tree import Parameter


class SearchDefinitions(Protocol):
    """One generation of the definitions. Never changed; a new SearchParameter makes a new one."""

    @property
    def generation(self) -> int:
        """Grows with every change."""
        ...

    @property
    def definitions(self) -> Definitions:
        """The release's."""
        ...

    def parameter(self, type: str, code: str) -> Parameter | None:
        """A parameter of a resource type by its code; `type` "": of all types."""
        ...

    def parameters(self, type: str) -> Sequence[Parameter]:
        """All of a type, in order of their codes."""
        ...

    def refused(self, type: str) -> Mapping[str, str]:
        """Published parameters of a type that are not supported, by code, and why."""
        ...

    def rows(self, type: str, body: bytes) -> Rows:
        """The index rows of a stored body. Pure; may be called in any thread."""
        ...

    def compartment(self, compartment: str) -> Mapping[str, Sequence[Parameter]]:
        """By resource type, the parameters that put a resource into it (DESIGN 7)."""
        ...
