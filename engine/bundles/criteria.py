"""Criteria of conditional entries: as queries, and in which order they can be resolved.

A criterion may name another entry by its fullUrl (`subject=urn:uuid:...`): then that entry's
identity has to be known first. Source: FHIR R4 http.html#trules.
"""

import re
from collections.abc import Callable, Sequence
from graphlib import CycleError, TopologicalSorter
from urllib.parse import parse_qsl, urlencode

from engine.bundles.entry import Entry, EntryFailed, Method
from engine.bundles.names import Placeholders
from engine.errors import BadRequest
from engine.fhir.search.tree import Query

ParseCriteria = Callable[[str, str], Query]
"""A resource type and a query string as a query. Raises BadRequest. Pure."""

# What stands between the values of a parameter.
_VALUE = re.compile(r"[^,$|]+")
_WRITES = {Method.POST, Method.PUT, Method.PATCH}


class CriteriaOrder:
    """The conditional entries of a transaction that write, those that others need first."""

    def __init__(self, entries: Sequence[Entry], placeholders: Placeholders) -> None:
        """Raises EntryFailed if criteria depend on each other in a circle."""
        self._placeholders = placeholders
        conditional = {e.number: e for e in entries if e.criteria and e.method in _WRITES}
        needs = {
            number: [other for other in self.named(entry.criteria) if other in conditional]
            for number, entry in conditional.items()
        }
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            number = error.args[1][0]
            raise EntryFailed(
                number,
                BadRequest(
                    "its criteria depend, in a circle, on entries whose criteria depend on it",
                    expression=f"{conditional[number].label}.request",
                ),
            ) from None
        self.entries = [conditional[number] for number in order]

    def named(self, criteria: str) -> list[int]:
        """The entries that criteria name."""
        if "urn" not in criteria.lower():
            return []
        values = [value for _, value in parse_qsl(criteria, keep_blank_values=True)]
        found = [
            self._placeholders.find(piece, "")
            for value in values
            for piece in _VALUE.findall(value)
        ]
        return [entry.number for entry in found if entry is not None]

    def resolved(self, criteria: str, names: Sequence[str]) -> str:
        """Criteria with the entries they name as Type/id."""
        if not self.named(criteria):
            return criteria

        def name(match: re.Match[str]) -> str:
            entry = self._placeholders.find(match[0], "")
            return match[0] if entry is None else names[entry.number]

        pairs = parse_qsl(criteria, keep_blank_values=True)
        return urlencode([(key, _VALUE.sub(name, value)) for key, value in pairs])
